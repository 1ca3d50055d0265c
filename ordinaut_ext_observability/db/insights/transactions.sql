-- The oldest open transactions of this database.
SELECT
    pid,
    coalesce(usename::text, '') AS role,
    coalesce(application_name, '') AS application,
    coalesce(state, '') AS state,
    greatest(0, extract(epoch FROM clock_timestamp() - xact_start))::float8 AS transaction_seconds,
    extract(epoch FROM clock_timestamp() - state_change)::float8 AS state_seconds,
    concat_ws(': ', wait_event_type, wait_event) AS waits_for,
    left(query, 2000) AS query
FROM pg_stat_activity
WHERE datname = current_database()
  AND pid <> pg_backend_pid()
  AND backend_type = 'client backend'
  AND xact_start IS NOT NULL
ORDER BY xact_start
LIMIT $1
