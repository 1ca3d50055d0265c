"""The relay that the settings describe."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.relay.base import RelayStore
from ordinaut_ext_observability.relay.members import EXPIRY_INTERVALS
from ordinaut_ext_observability.relay.relay import Relay
from ordinaut_ext_observability.setting_parts import RelaySettings

_SILENT_INTERVALS = 3
"""So many intervals without an answer are worth saying."""


def make_relay(
    settings: RelaySettings,
    metrics: Metrics,
    clock: Clock,
    *,
    serves: Callable[[], bool],
    event: Callable[..., None],
    further: Registry,
    shared: Callable[[], Sequence[AnyFamily]],
) -> Relay | None:
    """The relay, or None where it is switched off or has no store to use. It is not started."""
    stores = relay_stores(settings, clock)
    if not stores:
        return None
    return Relay(
        stores,
        metrics,
        clock,
        serves=serves,
        interval_seconds=settings.relay_interval_seconds,
        event=event,
        further=further,
        shared=shared,
    )


def relay_outcome(relay: Relay, interval_seconds: float) -> Outcome:
    """How the relay does, for its health check."""
    age = relay.age_seconds()
    details = {"store": relay.store_name, "processes": relay.process_count}
    if not relay.settled.is_set():
        return Outcome(HealthStatus.HEALTHY, "", details)
    if age is None:
        return Outcome(HealthStatus.DEGRADED, "no relay store has answered yet: only this process is seen", details)
    if age > _SILENT_INTERVALS * interval_seconds:
        return Outcome(HealthStatus.DEGRADED, f"the relay store has not answered for {age:.0f} s", details)
    return Outcome(HealthStatus.HEALTHY, "", details)


def relay_stores(settings: RelaySettings, clock: Clock) -> list[Callable[[], RelayStore]]:
    """Makers of the stores that the settings name, the preferred one first; making one does not connect."""
    if not settings.relay:
        return []
    interval = settings.relay_interval_seconds
    stores: list[Callable[[], RelayStore]] = []
    url = usable_redis_url(settings)
    if url is not None:
        stores.append(lambda: _redis_store(url, interval))
    directory = settings.relay_dir
    if directory is not None:
        stores.append(lambda: _directory_store(directory, interval, clock))
    return stores


def usable_redis_url(settings: RelaySettings) -> str | None:
    """The URL of a Redis; the host's `memory://` and `disabled://` mean that there is none."""
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    return url if url.startswith(("redis://", "rediss://", "unix://")) else None


# Imported where they are used: in the relay's thread, not while the host starts.
def _redis_store(url: str, interval_seconds: float) -> RelayStore:
    from ordinaut_ext_observability.relay.redis import RedisStore

    return RedisStore(url, interval_seconds=interval_seconds, expiry_seconds=EXPIRY_INTERVALS * interval_seconds)


def _directory_store(path: str, interval_seconds: float, clock: Clock) -> RelayStore:
    from ordinaut_ext_observability.relay.directory import DirectoryStore

    return DirectoryStore(
        path, interval_seconds=interval_seconds, expiry_seconds=EXPIRY_INTERVALS * interval_seconds, clock=clock
    )
