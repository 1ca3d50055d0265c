-- $1 the key, of which pg_locks shows the two halves.
SELECT pg_backend_pid() AS backend,
       EXISTS (
           SELECT FROM pg_locks
           WHERE locktype = 'advisory' AND granted AND objsubid = 1 AND pid = pg_backend_pid()
             AND (classid::bigint << 32 | objid::bigint) = $1
             AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
       ) AS held
