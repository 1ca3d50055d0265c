"""Time and memory of a live process, looked at for a while and on request."""
