-- A job may hold any number, NaN and infinities too: only one that is a time from 1970 on makes an age.
-- $1 now and $2 when a job is overdue, both seconds since 1970 as in next_run_time; $3 most rows to look at.
SELECT count(*) AS jobs,
       count(*) FILTER (WHERE next_run_time < $2) AS overdue,
       coalesce($1 - min(next_run_time) FILTER (WHERE next_run_time < $2 AND next_run_time >= 0), 0)::float8 AS oldest,
       (min(next_run_time) FILTER (WHERE next_run_time BETWEEN $1 AND 1e12) - $1)::float8 AS next_in,
       count(*) FILTER (WHERE next_run_time NOT BETWEEN 0 AND 1e12) AS odd_rows
FROM (SELECT next_run_time FROM apscheduler_jobs ORDER BY next_run_time LIMIT $3) AS soonest
