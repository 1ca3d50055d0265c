-- $1 task ids, $2 and $3 between when the run of each began. Runs of long items appear with an old started_at.
-- The outcomes are named so that idx_task_run_task_success leads to the few rows of a task within those minutes.
SELECT r.id, r.task_id, r.lease_owner, r.success, r.attempt,
       extract(epoch FROM r.started_at)::float8 AS started_at,
       extract(epoch FROM r.finished_at)::float8 AS finished_at
FROM unnest($1::uuid[], $2::timestamptz[], $3::timestamptz[]) AS late (task_id, since, until)
CROSS JOIN LATERAL (
    SELECT * FROM task_run WHERE task_id = late.task_id AND success AND started_at BETWEEN late.since AND late.until
    UNION ALL
    SELECT * FROM task_run WHERE task_id = late.task_id AND NOT success AND started_at BETWEEN late.since AND late.until
    UNION ALL
    SELECT * FROM task_run
    WHERE task_id = late.task_id AND success IS NULL AND started_at BETWEEN late.since AND late.until
) AS r
