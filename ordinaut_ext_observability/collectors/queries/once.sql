-- Active tasks to be run once. When is text of the host's, which only its own code may cast.
SELECT left(schedule_expr, 64) AS schedule_expr FROM task
WHERE schedule_kind = 'once' AND status = 'active' AND schedule_expr IS NOT NULL
ORDER BY created_at DESC
LIMIT 1000
