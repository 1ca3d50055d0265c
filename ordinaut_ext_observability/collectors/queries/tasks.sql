-- $1 most rows to look at: the table has no index that would give the counts.
SELECT coalesce(schedule_kind::text, '') AS kind, coalesce(status, '') AS status, count(*) AS tasks
FROM (SELECT schedule_kind, status FROM task LIMIT $1) AS looked_at
GROUP BY schedule_kind, status
