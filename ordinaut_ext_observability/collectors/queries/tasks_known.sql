-- $1 task ids.
SELECT id, created_by::text AS agent, schedule_kind::text AS kind FROM task WHERE id = ANY ($1::uuid[])
