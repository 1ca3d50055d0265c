"""Whether the process lives and may be given work."""
