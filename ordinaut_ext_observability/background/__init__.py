"""What runs beside the host: clock, jitter, periodic tasks, threads nobody waits for, forks."""
