"""Snapshots of the process's metrics, kept in memory for a while."""
