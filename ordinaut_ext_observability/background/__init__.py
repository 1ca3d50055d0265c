"""The things that run beside the host: clock, jitter, periodic tasks, threads nobody waits for, forks."""
