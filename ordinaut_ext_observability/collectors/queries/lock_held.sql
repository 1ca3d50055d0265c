-- $1 and $2: the two halves of the key, as pg_locks shows them.
SELECT pg_backend_pid() AS backend,
       EXISTS (
           SELECT FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid = pg_backend_pid()
             AND classid::bigint = $1 AND objid::bigint = $2
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       ) AS held
