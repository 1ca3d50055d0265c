"""JSON log lines: from records of the standard library, from structlog, from events of ours; and their writing."""
