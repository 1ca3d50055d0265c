SELECT coalesce(max(id), 0) FROM due_work
