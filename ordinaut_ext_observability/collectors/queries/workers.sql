-- $1 from when on a heartbeat is fresh. By idx_worker_heartbeat_last_seen: rows of workers long gone stay for ever.
SELECT worker_id, extract(epoch FROM last_seen)::float8 AS last_seen
FROM worker_heartbeat
WHERE last_seen >= $1
ORDER BY last_seen DESC
LIMIT 10000
