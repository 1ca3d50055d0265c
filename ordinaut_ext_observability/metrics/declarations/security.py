"""Metrics that the host reports of its security."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import MetricSet, counter


class SecurityMetrics(MetricSet, title="Security"):
    """Events and attempts as the host reports them."""

    security_events = counter(
        "orchestrator_security_events_total{event_type,severity,result}", "Security events of the host."
    )
    authentication_attempts = counter(
        "orchestrator_authentication_attempts_total{method,result}",
        "Attempts to authenticate: success, failed or error.",
    )
    jwt_tokens_issued = counter(
        "orchestrator_jwt_tokens_issued_total{agent_id,token_type}", "Tokens issued: access or refresh."
    )
    jwt_tokens_revoked = counter("orchestrator_jwt_tokens_revoked_total{reason}", "Tokens revoked.")
    rate_limit_violations = counter("orchestrator_rate_limit_violations_total{endpoint}", "Requests over a limit.")
    blocked_requests = counter(
        "orchestrator_blocked_requests_total{reason}", "Requests the host's security layer turned away."
    )
