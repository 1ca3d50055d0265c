-- All of it without a permission of its own, and without looking at any session.
SELECT current_setting('server_version') AS server_version,
       current_setting('max_connections')::int AS max_connections,
       (SELECT sum(numbackends)::int FROM pg_stat_database) AS connections,
       pg_is_in_recovery() AS in_recovery
