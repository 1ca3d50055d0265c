-- How long the longest ones of this database last. The clock may be set back between their start and now.
SELECT
    greatest(0, max(extract(epoch FROM clock_timestamp() - xact_start)))::float8 AS transaction_seconds,
    greatest(0, max(extract(epoch FROM clock_timestamp() - state_change))
        FILTER (WHERE state LIKE 'idle in transaction%'))::float8 AS idle_in_transaction_seconds,
    greatest(0, max(extract(epoch FROM clock_timestamp() - query_start))
        FILTER (WHERE state = 'active'))::float8 AS query_seconds,
    count(*) FILTER (WHERE backend_type IS NULL) AS hidden
FROM pg_stat_activity
WHERE datname = current_database()
  AND pid <> pg_backend_pid()
  AND (backend_type = 'client backend' OR backend_type IS NULL)
