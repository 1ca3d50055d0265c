-- $1 task ids.
SELECT id, coalesce(created_by::text, '') AS agent, coalesce(schedule_kind::text, '') AS kind FROM task WHERE id = ANY ($1::uuid[])
