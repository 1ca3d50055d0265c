"""Insights into PostgreSQL: sessions, locks, statements, tables and indexes, read from its system views."""
