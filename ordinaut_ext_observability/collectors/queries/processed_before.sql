-- All that was ever processed; read once, when counting begins.
SELECT coalesce(sum(processed_count), 0)::bigint FROM worker_heartbeat
