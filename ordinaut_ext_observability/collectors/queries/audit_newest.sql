-- $1 most rows.
SELECT id FROM audit_log ORDER BY id DESC LIMIT $1
