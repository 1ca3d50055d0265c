"""Alert rules, their states, and what is said of them."""

NO_TROUBLE = ("info", "none")
"""Severities of alerts that fire though nothing is wrong, as `Watchdog` does here and in Prometheus's usual rules."""
