-- How many transactions ago rows were last frozen; at two billion the server refuses to write.
SELECT
    (SELECT max(age(datfrozenxid)) FROM pg_database) AS server_age,
    (SELECT datname::text FROM pg_database ORDER BY age(datfrozenxid) DESC LIMIT 1) AS oldest_database,
    current_setting('autovacuum_freeze_max_age')::int AS freeze_max_age,
    t.name AS oldest_table,
    t.age AS oldest_table_age
FROM (
    SELECT c.oid::regclass::text AS name, age(c.relfrozenxid) AS age
    FROM pg_class AS c
    WHERE c.relkind IN ('r', 'm', 't') AND c.relfrozenxid <> '0'::xid
    ORDER BY age(c.relfrozenxid) DESC
    LIMIT 1
) AS t
