-- Client connections of the whole server: they share max_connections.
-- What is another role's has neither state nor type for those who may not see it.
SELECT
    CASE
        WHEN backend_type IS NULL THEN 'hidden'
        ELSE coalesce(state, 'starting')
    END AS state,
    coalesce(application_name, '') AS application,
    datname = current_database() AS is_ours,
    count(*) AS number
FROM pg_stat_activity
WHERE (backend_type = 'client backend' OR (backend_type IS NULL AND datid IS NOT NULL))
  AND pid <> pg_backend_pid()
GROUP BY 1, 2, 3
ORDER BY number DESC, application
LIMIT 500
