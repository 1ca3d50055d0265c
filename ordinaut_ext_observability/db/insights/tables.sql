-- A table someone locks exclusively has no size here: asking for it would wait for that lock.
WITH locked AS MATERIALIZED (
    SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
)
SELECT
    n.name,
    t.schemaname::text AS schema,
    greatest(c.reltuples, t.n_live_tup, 0)::float8::bigint AS rows,
    t.n_dead_tup AS dead_rows,
    CASE WHEN c.oid NOT IN (SELECT relation FROM locked) THEN pg_total_relation_size(c.oid) END AS size_bytes,
    t.seq_scan AS sequential_scans,
    t.seq_tup_read AS sequential_rows,
    coalesce(t.idx_scan, 0) AS index_scans,
    extract(epoch FROM clock_timestamp() - t.last_autovacuum)::float8 AS autovacuum_age_seconds,
    extract(epoch FROM clock_timestamp() - greatest(t.last_vacuum, t.last_autovacuum))::float8 AS vacuum_age_seconds,
    extract(epoch FROM clock_timestamp() - greatest(t.last_analyze, t.last_autoanalyze))::float8 AS analyze_age_seconds
FROM unnest($1::text[]) AS n(name)
JOIN pg_class AS c ON c.oid = to_regclass(n.name)
JOIN pg_stat_all_tables AS t ON t.relid = c.oid
ORDER BY n.name
