"""Recent trouble of the host's, in memory and bounded: errors in groups, and requests that failed or were slow."""
