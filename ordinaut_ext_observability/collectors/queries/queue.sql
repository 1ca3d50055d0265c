-- $1 now, $2 most rows to look at, $3 from when on a heartbeat is fresh.
-- Workers take the oldest due row first, so leased rows, expired leases and the oldest claimable row are all at the
-- head of the queue: reading that head in the order of idx_due_work_run_at costs the same however long the queue is.
-- A row may hold any time, and must not hide the others: work due before 1970, or ever, has waited since it was queued,
-- and every time that leaves here is finite.
WITH head AS MATERIALIZED (
    SELECT id, task_id, locked_until, locked_by, queued_at,
           CASE WHEN run_at >= 'epoch' THEN run_at ELSE queued_at END AS due_at,
           locked_until IS NULL OR locked_until < $1 AS claimable
    FROM due_work, LATERAL (SELECT least($1, greatest(created_at, 'epoch')) AS queued_at) AS bounded
    WHERE run_at <= $1
    ORDER BY run_at
    LIMIT $2
),
totals AS (
    SELECT count(*) AS rows,
           count(*) FILTER (WHERE claimable) AS claimable,
           extract(epoch FROM $1 - min(due_at) FILTER (WHERE claimable))::float8 AS oldest_age,
           count(*) FILTER (WHERE locked_until >= $1) AS in_progress
    FROM head
),
expired AS MATERIALIZED (
    SELECT EXISTS (
        SELECT FROM worker_heartbeat w
        WHERE w.worker_id = head.locked_by AND w.last_seen BETWEEN $3 AND $1 + ($1 - $3)
    ) AS owner_alive
    FROM head
    WHERE locked_until < $1
),
-- Grouped by task first: the head may be ten thousand rows of ten tasks.
by_task AS MATERIALIZED (
    SELECT task_id, count(*) AS rows FROM head WHERE claimable GROUP BY task_id
),
by_priority AS (
    SELECT t.priority, sum(b.rows) AS rows
    FROM by_task b JOIN task t ON t.id = b.task_id
    WHERE t.priority IS NOT NULL
    GROUP BY t.priority
),
leased AS (
    SELECT id AS item, task_id AS task, coalesce(locked_by, '') AS owner,
           extract(epoch FROM due_at)::float8 AS run_at,
           extract(epoch FROM greatest(due_at, queued_at))::float8 AS waiting_since,
           extract(epoch FROM least(greatest(locked_until, 'epoch'), $1 + interval '1 day'))::float8 AS locked_until
    FROM head
    WHERE locked_until IS NOT NULL AND task_id IS NOT NULL
    ORDER BY due_at
    LIMIT 4096
)
SELECT totals.*,
       (SELECT count(*) FROM expired WHERE owner_alive) AS expired_alive,
       (SELECT count(*) FROM expired WHERE NOT owner_alive) AS expired_dead,
       (SELECT json_object_agg(priority, rows) FROM by_priority)::text AS by_priority,
       (SELECT json_agg(leased) FROM leased)::text AS leased
FROM totals
