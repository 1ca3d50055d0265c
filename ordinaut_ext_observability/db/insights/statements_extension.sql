-- The extension that counts statements: where it is, and what its version calls the time they took.
SELECT
    quote_ident(n.nspname) AS schema,
    CASE WHEN string_to_array(e.extversion, '.')::int[] >= '{1,8}' THEN 'total_exec_time' ELSE 'total_time' END AS total
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'pg_stat_statements'
