"""One `/metrics` for all processes: each publishes what it counted, every API process shows the sum."""
