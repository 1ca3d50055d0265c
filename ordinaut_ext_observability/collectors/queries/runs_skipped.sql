-- $1 and $2: between when, $3 most rows to count. Runs that nobody read while there was no leader for too long.
SELECT count(*) FROM (SELECT FROM task_run WHERE started_at >= $1 AND started_at < $2 LIMIT $3) AS skipped
