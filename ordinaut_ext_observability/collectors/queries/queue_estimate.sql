-- $1 now. The planner's own guess, from its statistics: no row is read.
EXPLAIN (FORMAT JSON) SELECT FROM due_work WHERE run_at <= $1
