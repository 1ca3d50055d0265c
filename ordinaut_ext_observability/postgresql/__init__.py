"""PostgreSQL by URL: read, shown without its password, connected to within a deadline."""
