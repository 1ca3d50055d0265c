"""Metrics that a Redis server tells of itself."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, gauge, histogram

PING = Buckets(
    "A server on the same machine answers in a tenth of a millisecond, and one that needs a second does "
    "not answer for us.",
    (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
)


class RedisServerMetrics(MetricSet, title="Redis"):
    """Read with PING, INFO, and XLEN and XINFO of the streams."""

    up = gauge("orchestrator_redis_up", "1 while Redis answers, else 0.")
    ping_seconds = histogram(
        "orchestrator_redis_ping_duration_seconds", "How long Redis took to answer a PING.", buckets=PING
    )
    stream_length = gauge(
        "orchestrator_redis_stream_length{stream}",
        "Entries of the stream: the host's, `events`, and those of extensions, `ext:*`.",
    )
    group_pending = gauge(
        "orchestrator_redis_group_pending{stream,group}",
        "Entries given to a consumer of the group that it has not acknowledged.",
    )
    group_lag = gauge(
        "orchestrator_redis_group_lag{stream,group}",
        "Entries that the group has not been given yet; absent where the server does not know (before Redis 7).",
    )
    group_consumers = gauge("orchestrator_redis_group_consumers{stream,group}", "Consumers of the group.")
    memory_used = gauge("orchestrator_redis_memory_used_bytes", "Memory that Redis has in use.")
    memory_max = gauge("orchestrator_redis_memory_max_bytes", "Memory that Redis may use; 0: no limit of its own.")
    evicted_keys = gauge(
        "orchestrator_redis_evicted_keys",
        "Keys that Redis has thrown out for want of memory: the server's own counter, since it started.",
    )
    connected_clients = gauge("orchestrator_redis_connected_clients", "Clients connected to Redis, this one included.")
