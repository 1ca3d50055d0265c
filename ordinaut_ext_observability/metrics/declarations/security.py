"""What the host reports of its security."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import MetricSet, counter


class SecurityMetrics(MetricSet):
    """Events and attempts as the host reports them."""

    title = "Security"

    security_events = counter(
        "orchestrator_security_events_total", "Security events of the host.", ("event_type", "severity", "result")
    )
    authentication_attempts = counter(
        "orchestrator_authentication_attempts_total",
        "Attempts to authenticate: success, failed or error.",
        ("method", "result"),
    )
    jwt_tokens_issued = counter(
        "orchestrator_jwt_tokens_issued_total", "Tokens issued: access or refresh.", ("agent_id", "token_type")
    )
    jwt_tokens_revoked = counter("orchestrator_jwt_tokens_revoked_total", "Tokens revoked.", ("reason",))
    rate_limit_violations = counter("orchestrator_rate_limit_violations_total", "Requests over a limit.", ("endpoint",))
    blocked_requests = counter(
        "orchestrator_blocked_requests_total", "Requests the host's security layer turned away.", ("reason",)
    )
