-- All that was ever processed; read once, when counting begins.
SELECT coalesce(least(sum(least(greatest(processed_count, 0), 100000000000000)), 9e18), 0)::bigint FROM worker_heartbeat
