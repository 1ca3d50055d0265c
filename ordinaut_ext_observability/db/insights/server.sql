SELECT
    d.xact_commit AS commits,
    d.xact_rollback AS rollbacks,
    d.deadlocks,
    d.temp_bytes,
    d.blks_hit AS blocks_from_cache,
    d.blks_read AS blocks_from_disk,
    extract(epoch FROM clock_timestamp() - coalesce(d.stats_reset, pg_postmaster_start_time()))::float8 AS statistics_age_seconds,
    d.datname::text AS database,
    current_setting('server_version') AS version,
    current_setting('max_connections')::int AS max_connections,
    current_setting('superuser_reserved_connections')::int AS reserved_connections,
    pg_is_in_recovery() AS in_recovery,
    pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_all,
    current_user::text AS role
FROM pg_stat_database AS d
WHERE d.datname = current_database()
