-- $1 since when. Workers that gave a sign of life since then; the others have counted no further.
-- A count is taken for one from 0 to 10^14, so that the sum of all has a place to be kept in.
SELECT worker_id AS worker, least(greatest(processed_count, 0), 100000000000000) AS processed,
       extract(epoch FROM greatest('epoch', least(created_at, now())))::float8 AS created_at,
       extract(epoch FROM greatest('epoch', least(last_seen, now())))::float8 AS last_seen
FROM worker_heartbeat
WHERE last_seen >= $1
ORDER BY last_seen
LIMIT 20000
