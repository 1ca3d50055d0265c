-- How many rows the table has by the last ANALYZE or VACUUM; -1 before the first.
SELECT reltuples::bigint FROM pg_class WHERE oid = 'task'::regclass
