"""Where a live process spends its time and memory, looked at for a while and on request."""
