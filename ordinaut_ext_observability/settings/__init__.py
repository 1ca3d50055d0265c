"""Settings: read from the environment and a file, each problem named with its place and what would be accepted."""
