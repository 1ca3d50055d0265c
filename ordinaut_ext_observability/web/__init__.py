"""The HTTP face: measuring the host's requests, and our own endpoints."""
