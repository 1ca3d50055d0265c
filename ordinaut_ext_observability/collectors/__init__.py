"""What PostgreSQL and Redis know about the system, collected in the background."""
