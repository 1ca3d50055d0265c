-- $1 to $3, for this transaction alone: behind a pooler another client may have the session next.
SELECT set_config('statement_timeout', $1, true),
       set_config('lock_timeout', $2, true),
       set_config('idle_in_transaction_session_timeout', $3, true),
       extract(epoch FROM now())::float8 AS now
