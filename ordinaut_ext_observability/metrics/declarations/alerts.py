"""Metrics of alert rules and their alerts."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import MetricSet, counter, gauge


class AlertMetrics(MetricSet, title="Alerts"):
    """Rules, and alerts as every process that serves knows them."""

    alerts = gauge(
        "orchestrator_alerts{severity,state}",
        "Alerts that are pending or firing, by the label severity of their rules.",
    )
    alert_leader = gauge(
        "ordinaut_observability_alerts_leader",
        "1 where this process evaluates alerting rules; one of those that share a store does.",
        merged_by="sum",
    )
    alert_rules = gauge(
        "ordinaut_observability_alert_rules{health}",
        "Rules by the health of their last evaluation: ok, err, or unknown before the first.",
    )
    alert_rule_files_refused = gauge(
        "ordinaut_observability_alert_rule_files_refused",
        "Rule files that are not used as they are now, because something in them is wrong.",
    )
    alert_last_evaluation = gauge(
        "ordinaut_observability_alerts_last_evaluation_timestamp_seconds",
        "When rules were last evaluated, in seconds since 1970.",
    )
    alert_ticks_missed = counter(
        "ordinaut_observability_alerts_ticks_missed_total",
        "Samples of history after which no rules were evaluated, because the evaluation before had not ended.",
    )

    notifications_sent = counter(
        "ordinaut_observability_notifications_total{integration,reason}",
        "Notifications that their receivers took, by the reason why they were sent.",
    )
    notifications_failed = counter(
        "ordinaut_observability_notifications_failed_total{integration,kind}",
        "Tries that failed: temporary ones are repeated, permanent ones would be refused again.",
    )
    notifications_waiting = gauge(
        "ordinaut_observability_notifications_waiting",
        "Notifications that are to be sent.",
        merged_by="sum",
    )
    notification_integration_up = gauge(
        "ordinaut_observability_notification_integration_up{integration}",
        "1 where the last try through an integration succeeded, 0 where it failed; absent before the first.",
    )
    notifications_unsaved = gauge(
        "ordinaut_observability_notifications_unsaved_records",
        "Records about notifications that the store has not taken yet: they are in memory, and sending goes on.",
        merged_by="sum",
    )
