"""The `ordinaut-observability` command."""
