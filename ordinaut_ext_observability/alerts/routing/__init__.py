"""Who is told of which alert, and when: routes, receivers, inhibition, time intervals, as Alertmanager has them."""
