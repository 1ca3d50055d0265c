-- Sessions of this database that wait for a lock, and those they wait for. pg_locks shows every role that they wait.
WITH lock AS MATERIALIZED (
    SELECT pid, locktype, mode, granted, relation, database, :waitstart AS waitstart FROM pg_locks
),
waiting AS MATERIALIZED (
    SELECT DISTINCT ON (l.pid) l.pid, l.locktype, l.mode, l.relation, l.database, l.waitstart
    FROM lock AS l
    JOIN pg_stat_activity AS a ON a.pid = l.pid
    WHERE NOT l.granted AND a.datname = current_database()
    ORDER BY l.pid, l.waitstart
),
asked AS MATERIALIZED (
    SELECT pid, pg_blocking_pids(pid) AS blockers FROM (SELECT pid FROM waiting ORDER BY waitstart LIMIT $1) AS oldest
),
party AS (
    SELECT pid FROM asked UNION SELECT unnest(blockers) FROM asked
),
-- A row's lock is waited for as its transaction; the row's table is that of the tuple lock held meanwhile.
tuple AS (
    SELECT DISTINCT ON (pid) pid, relation, database FROM lock WHERE locktype = 'tuple' ORDER BY pid, relation
)
SELECT
    p.pid,
    coalesce(k.blockers, '{}') AS blockers,
    coalesce(a.usename::text, '') AS role,
    coalesce(a.application_name, '') AS application,
    coalesce(a.state, '') AS state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
    extract(epoch FROM clock_timestamp() - coalesce(w.waitstart, a.query_start))::float8 AS wait_seconds,
    coalesce(w.locktype, '') AS lock_type,
    coalesce(w.mode, '') AS lock_mode,
    CASE
        WHEN coalesce(w.database, t.database) IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        THEN coalesce(coalesce(w.relation, t.relation)::regclass::text, '')
        ELSE ''
    END AS relation,
    left(a.query, 2000) AS query,
    (SELECT count(*) FROM waiting) AS all_waiting
FROM party AS p
LEFT JOIN pg_stat_activity AS a ON a.pid = p.pid
LEFT JOIN waiting AS w ON w.pid = p.pid
LEFT JOIN asked AS k ON k.pid = p.pid
LEFT JOIN tuple AS t ON t.pid = p.pid AND w.pid IS NOT NULL
ORDER BY wait_seconds DESC NULLS LAST, p.pid
