-- $1 since when. Workers that gave a sign of life since then; the others have counted no further.
SELECT worker_id AS worker, processed_count AS processed,
       extract(epoch FROM created_at)::float8 AS created_at,
       extract(epoch FROM last_seen)::float8 AS last_seen
FROM worker_heartbeat
WHERE last_seen >= $1
ORDER BY last_seen
LIMIT 20000
