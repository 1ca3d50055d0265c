"""The demo: real servers, the host's tables, and a workload that makes every series live."""
