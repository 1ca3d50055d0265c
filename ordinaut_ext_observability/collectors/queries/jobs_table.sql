-- The scheduler makes the table at its first start.
SELECT to_regclass('apscheduler_jobs') IS NOT NULL
