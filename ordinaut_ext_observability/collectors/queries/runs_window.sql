-- $1 since when, $2 most rows. By idx_task_run_started_at; there is none on finished_at or created_at.
SELECT id, task_id, lease_owner, success, attempt,
       extract(epoch FROM started_at)::float8 AS started_at,
       extract(epoch FROM finished_at)::float8 AS finished_at
FROM task_run
WHERE started_at >= $1
ORDER BY started_at
LIMIT $2
