-- $1 the highest id read, $2 most rows. By the primary key.
SELECT a.id, left(a.action, 100) AS action, a.actor_agent_id::text AS agent,
       extract(epoch FROM greatest('epoch', least(a.at, now())))::float8 AS at,
       CASE WHEN a.action = 'task.created' THEN (
           SELECT t.schedule_kind::text FROM task t WHERE t.id = a.subject_id
       ) END AS kind
FROM audit_log a
WHERE a.id > $1
ORDER BY a.id
LIMIT $2
