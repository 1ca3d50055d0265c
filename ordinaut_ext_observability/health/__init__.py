"""Health: checks, and the probes that say whether the process lives and may be given work."""
