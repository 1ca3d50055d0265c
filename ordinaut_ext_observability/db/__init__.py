"""Watching the database: instrumented connections, and what PostgreSQL tells about itself."""
