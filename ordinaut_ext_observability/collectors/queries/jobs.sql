-- $1 now and $2 when a job is overdue, both seconds since 1970 as in next_run_time; $3 most rows to look at.
SELECT count(*) AS jobs,
       count(*) FILTER (WHERE next_run_time < $2) AS overdue,
       ($1 - min(next_run_time) FILTER (WHERE next_run_time < $2))::float8 AS oldest_overdue,
       (min(next_run_time) FILTER (WHERE next_run_time >= $1) - $1)::float8 AS next_in
FROM (SELECT next_run_time FROM apscheduler_jobs ORDER BY next_run_time LIMIT $3) AS soonest
