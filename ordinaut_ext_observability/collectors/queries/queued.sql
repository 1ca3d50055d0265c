-- $1 the highest id read, $2 most rows. What waits in the queue since then; work done meanwhile is gone.
SELECT w.id, t.schedule_kind::text AS kind,
       extract(epoch FROM w.created_at - w.run_at)::float8 AS late
FROM due_work w JOIN task t ON t.id = w.task_id
WHERE w.id > $1
ORDER BY w.id DESC
LIMIT $2
