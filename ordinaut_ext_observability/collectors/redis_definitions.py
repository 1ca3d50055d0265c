"""The metrics of a Redis server."""

from __future__ import annotations

from ordinaut_ext_observability.collectors.facts import RedisFacts
from ordinaut_ext_observability.metrics.definitions import Metrics

# A server on the same machine answers in a tenth of a millisecond, and one that needs a second does not answer for us.
PING_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)


class RedisMetrics:
    """The families, and what is shown in them. What was not read is not shown: an old value would pass for a new."""

    def __init__(self, metrics: Metrics) -> None:
        self.up = metrics.gauge("orchestrator_redis_up", "1 while Redis answers, else 0.")
        self.ping_seconds = metrics.histogram(
            "orchestrator_redis_ping_duration_seconds", "How long Redis took to answer a PING.", bounds=PING_SECONDS
        )
        self.stream_length = metrics.gauge(
            "orchestrator_redis_stream_length",
            "Entries of the stream: the host's, `events`, and those of extensions, `ext:*`.",
            "stream",
        )
        self.group_pending = metrics.gauge(
            "orchestrator_redis_group_pending",
            "Entries given to a consumer of the group that it has not acknowledged.",
            "stream",
            "group",
        )
        self.group_lag = metrics.gauge(
            "orchestrator_redis_group_lag",
            "Entries that the group has not been given yet; absent where the server does not know (before Redis 7).",
            "stream",
            "group",
        )
        self.group_consumers = metrics.gauge(
            "orchestrator_redis_group_consumers", "Consumers of the group.", "stream", "group"
        )
        self.memory_used = metrics.gauge("orchestrator_redis_memory_used_bytes", "Memory that Redis has in use.")
        self.memory_max = metrics.gauge(
            "orchestrator_redis_memory_max_bytes", "Memory that Redis may use; 0: no limit of its own."
        )
        # Not a counter: every process reads the same number, and counters of several processes are added up.
        self.evicted_keys = metrics.gauge(
            "orchestrator_redis_evicted_keys",
            "Keys that Redis has thrown out for want of memory: the server's own counter, since it started.",
        )
        self.connected_clients = metrics.gauge(
            "orchestrator_redis_connected_clients", "Clients connected to Redis, this one included."
        )

    def show(self, facts: RedisFacts) -> None:
        """The facts of just now, and nothing else."""
        self.up.labels().set(1)
        self.ping_seconds.labels().observe(facts.latency_seconds)
        for gauge, number in (
            (self.memory_used, facts.used_memory_bytes),
            (self.memory_max, facts.max_memory_bytes),
            (self.evicted_keys, facts.evicted_keys),
            (self.connected_clients, facts.connected_clients),
        ):
            gauge.replace({(): number} if number is not None else {})
        groups = {(group.stream, group.group): group for group in facts.groups}
        self.stream_length.replace({(stream,): length for stream, length in facts.stream_lengths.items()})
        self.group_pending.replace({labels: group.pending for labels, group in groups.items()})
        self.group_lag.replace({labels: group.lag for labels, group in groups.items() if group.lag is not None})
        self.group_consumers.replace({labels: group.consumers for labels, group in groups.items()})

    def clear(self) -> None:
        """Show nothing any more."""
        for gauge in (
            *(self.up, self.stream_length, self.group_pending, self.group_lag, self.group_consumers),
            *(self.memory_used, self.memory_max, self.evicted_keys, self.connected_clients),
        ):
            gauge.clear()
