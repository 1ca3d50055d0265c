-- How late is not known of work due before 1970, or ever, and of a row from the future.
-- $1 the highest id read, $2 most rows. What waits in the queue since then; work done meanwhile is gone.
SELECT w.id, coalesce(t.schedule_kind::text, '') AS kind,
       CASE WHEN w.run_at >= 'epoch' AND isfinite(w.run_at)
                 AND w.created_at BETWEEN 'epoch' AND now() + interval '1 hour'
            THEN extract(epoch FROM w.created_at - w.run_at)::float8 END AS late
FROM due_work w JOIN task t ON t.id = w.task_id
WHERE w.id > $1
ORDER BY w.id DESC
LIMIT $2
