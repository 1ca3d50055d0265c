-- Nothing here waits for a lock: a definition or size that would is NULL while someone locks the table exclusively.
WITH locked AS MATERIALIZED (
    SELECT relation FROM pg_locks WHERE locktype = 'relation' AND mode = 'AccessExclusiveLock'
)
SELECT
    i.relname::text AS name,
    ns.nspname::text AS schema,
    n.name AS "table",
    am.amname::text AS method,
    x.indisunique AS is_unique,
    x.indisvalid AS is_valid,
    (x.indisprimary OR x.indisexclusion OR x.indisreplident OR EXISTS (
        SELECT FROM pg_constraint AS k WHERE k.conindid = x.indexrelid
    )) AS is_needed,
    EXISTS (
        SELECT FROM pg_constraint AS f
        WHERE f.conrelid = x.indrelid AND f.contype = 'f' AND f.conkey[1] = x.indkey[0]
    ) AS is_on_foreign_key,
    x.indnkeyatts::int AS key_columns,
    (
        SELECT array_agg(coalesce(a.attname::text, '(expression)') ORDER BY k.position)
        FROM unnest(x.indkey::int2[]) WITH ORDINALITY AS k(number, position)
        LEFT JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = k.number AND k.number <> 0
    ) AS columns,
    string_to_array(x.indoption::text, ' ') AS options,
    string_to_array(x.indclass::text, ' ') AS operator_classes,
    string_to_array(x.indcollation::text, ' ') AS collations,
    x.indexprs IS NOT NULL AS has_expressions,
    x.indpred IS NOT NULL AS is_partial,
    CASE WHEN x.indpred IS NOT NULL AND NOT e.is_locked THEN pg_get_expr(x.indpred, x.indrelid) END AS predicate,
    CASE WHEN NOT e.is_locked THEN pg_relation_size(x.indexrelid) END AS size_bytes,
    coalesce(s.idx_scan, 0) AS scans
FROM unnest($1::text[]) AS n(name)
JOIN pg_index AS x ON x.indrelid = to_regclass(n.name)
JOIN pg_class AS i ON i.oid = x.indexrelid
JOIN pg_namespace AS ns ON ns.oid = i.relnamespace
JOIN pg_am AS am ON am.oid = i.relam
LEFT JOIN pg_stat_all_indexes AS s ON s.indexrelid = x.indexrelid
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM locked WHERE relation IN (x.indrelid, x.indexrelid)) AS is_locked
) AS e
ORDER BY n.name, i.relname
