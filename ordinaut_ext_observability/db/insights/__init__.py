"""What PostgreSQL knows about itself: sessions, locks, statements, tables and indexes, read from its system views."""
