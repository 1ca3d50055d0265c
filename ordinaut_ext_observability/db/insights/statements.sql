-- The statements of this database that took most time, whoever ran them. Another role's have no id for those who may
-- not see them.
SELECT
    coalesce(queryid::text, '') AS id,
    sum(calls)::bigint AS calls,
    (sum(:total) / 1000)::float8 AS seconds,
    sum(rows)::bigint AS rows,
    left(min(query), 4000) AS query
FROM :schema.pg_stat_statements(:texts)
WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
GROUP BY queryid
ORDER BY queryid IS NULL DESC, sum(:total) DESC
LIMIT $1 + 1
