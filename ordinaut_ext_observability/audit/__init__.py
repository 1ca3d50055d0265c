"""Security events, kept in hash-chained files."""
