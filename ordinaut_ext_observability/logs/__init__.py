"""JSON log lines: their encoding and the thread that writes them."""
