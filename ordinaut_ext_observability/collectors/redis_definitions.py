"""The metrics of a Redis server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ordinaut_ext_observability.collectors.facts import RedisFacts
from ordinaut_ext_observability.metrics.declarations.redis import RedisServerMetrics
from ordinaut_ext_observability.metrics.family import Gauge

if TYPE_CHECKING:
    from ordinaut_ext_observability.collectors.redis_reading import RedisReading


class RedisMetrics(RedisServerMetrics):
    """What is shown in the families. What was not read is not shown: an old value would pass for a new."""

    def show(self, reading: RedisReading) -> None:
        """What was read just now, and nothing else."""
        facts = reading.facts
        self.up.labels().set(1)
        self.ping_seconds.labels().observe(facts.latency_seconds)
        if not reading.informed:
            for gauge in self._of_info():
                gauge.clear()
        else:
            self.memory_used.labels().set(facts.used_memory_bytes)
            self.memory_max.labels().set(facts.max_memory_bytes)
            self.connected_clients.labels().set(facts.connected_clients)
            self.evicted_keys.labels().set(facts.evicted_keys)
        self._show_streams(facts)

    def show_absence(self) -> None:
        """Redis does not answer."""
        self.clear()
        self.up.labels().set(0)

    def clear(self) -> None:
        """Nobody looks any more."""
        for gauge in self._gauges():
            gauge.clear()

    def _gauges(self) -> tuple[Gauge, ...]:
        streams = (self.stream_length, self.group_pending, self.group_lag, self.group_consumers)
        return (self.up, *streams, *self._of_info())

    def _of_info(self) -> tuple[Gauge, ...]:
        return (self.memory_used, self.memory_max, self.evicted_keys, self.connected_clients)

    def _show_streams(self, facts: RedisFacts) -> None:
        self.stream_length.replace({(stream,): length for stream, length in facts.stream_lengths.items()})
        groups = {(group.stream, group.group): group for group in facts.groups}
        self.group_pending.replace({labels: group.pending for labels, group in groups.items()})
        self.group_lag.replace({labels: group.lag for labels, group in groups.items() if group.lag is not None})
        self.group_consumers.replace({labels: group.consumers for labels, group in groups.items()})
