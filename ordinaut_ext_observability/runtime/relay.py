"""The relay that the settings describe, and what health says of it."""

from __future__ import annotations

from ordinaut_ext_observability.health.model import HealthStatus, Outcome, unknown
from ordinaut_ext_observability.metrics.declarations.system import CollectorMetrics
from ordinaut_ext_observability.relay.relay import Relay
from ordinaut_ext_observability.relay.siblings import Siblings

_SILENT_INTERVALS = 3
"""So many intervals without an answer are worth saying."""

_LOOK_SECONDS = 15.0
"""How often who reads for all looks at the server, where it reads more often and that fails or takes long."""


def relay_outcome(relay: Relay, interval_seconds: float) -> Outcome:
    """How the relay does, for its health check."""
    age = relay.age_seconds()
    details = {"store": relay.store_name, "processes": relay.process_count}
    if not relay.settled.is_set():
        return unknown("the relay store has not been asked yet", details)
    if age is None:
        return Outcome(HealthStatus.DEGRADED, "the store has not answered yet: only this process is seen", details)
    if age > _SILENT_INTERVALS * interval_seconds:
        return Outcome(HealthStatus.DEGRADED, f"the relay store has not answered for {age:.0f} s", details)
    databases = {
        labels for gauges in relay.gauges() for name, labels in gauges if name == CollectorMetrics.database_info.name
    }
    if len(databases) > 1:
        return Outcome(
            HealthStatus.DEGRADED,
            f"processes that read {len(databases)} databases are one installation here, and their numbers are added "
            "up: give each installation a name of its own in ORDINAUT_OBS_INSTALLATION",
            details,
        )
    return Outcome(HealthStatus.HEALTHY, "", details)


def alone_outcome(siblings: Siblings) -> Outcome:
    """The health check of a process that shows itself alone: right for one that serves alone."""
    others = siblings.count()
    if not others:
        return Outcome(HealthStatus.HEALTHY)
    return Outcome(
        HealthStatus.DEGRADED,
        f"{others + 1} processes serve at this address, and each shows only its own numbers: give them a store "
        "by REDIS_URL or ORDINAUT_OBS_STORE, and leave ORDINAUT_OBS_RELAY on",
        {"processes": others + 1},
    )


def seconds_since_read(relay: Relay, collector: str, now: float, interval_seconds: float) -> float | None:
    """How long ago another process, which reads for all, read what this collector reads; None where none says so.

    Its sign of life is its last look at the server, not older than two intervals; `now` is in seconds since 1970.
    """
    sign_seconds = 2 * max(interval_seconds, _LOOK_SECONDS)
    ages = [
        max(0.0, now - gauges[CollectorMetrics.collector_success.name, (collector,)])
        for gauges in relay.gauges()
        if gauges.get((CollectorMetrics.leader.name, ()))
        and now - gauges.get((CollectorMetrics.collector_success.name, ("database",)), 0.0) <= sign_seconds
        and (CollectorMetrics.collector_success.name, (collector,)) in gauges
    ]
    return min(ages, default=None)
