"""Collectors of facts about the system that PostgreSQL and Redis know, in the background."""
