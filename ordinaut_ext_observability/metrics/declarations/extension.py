"""Metrics of the extension itself."""

from __future__ import annotations

from ordinaut_ext_observability.metrics.declare import Buckets, MetricSet, counter, gauge, histogram

SCRAPE = Buckets(
    "A scrape is due within the scraper's timeout of 10 s and should take a small part of it.",
    (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0),
)

QUERY = Buckets(
    "A dashboard's queries should take a moment; 30 s is the longest that one may.",
    (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0),
)


class ExtensionMetrics(MetricSet, title="The extension itself"):
    """The extension's own work, its failures and what it costs."""

    label_overflow = counter(
        "ordinaut_observability_label_overflow_total{metric,label}",
        "New label values counted as __other__ because the label's budget was used up; an empty label means "
        "the metric's limit of series.",
        max_values=1000,
    )
    internal_errors = counter(
        "ordinaut_observability_internal_errors_total{component}",
        "Failures inside the observability extension, none of which reached the host.",
    )
    overhead_seconds = counter(
        "ordinaut_observability_overhead_seconds_total{component}",
        "CPU time the extension took from the host: recorder (what is done for finished requests), scrape, log_writer, "
        "history, query, alerts, page (what the status page shows).",
    )
    build_info = gauge(
        "ordinaut_observability_build_info{version,python_version,environment,host_version}",
        "Always 1; the labels say what runs.",
    )
    settings_problems = gauge(
        "ordinaut_observability_settings_problems",
        "Settings that could not be used and were replaced by their defaults.",
    )
    scrape_seconds = histogram(
        "ordinaut_observability_scrape_duration_seconds{format}",
        "Time from the start of rendering a scrape to its last byte, pauses for other requests included.",
        buckets=SCRAPE,
    )
    scrape_bytes = gauge(
        "ordinaut_observability_scrape_size_bytes{format}", "Size of the previous scrape, before compression."
    )
    scrape_series = gauge(
        "ordinaut_observability_series",
        "Label sets held in memory; a histogram's label set is rendered as several lines.",
    )
    queries = counter(
        "ordinaut_observability_queries_total{outcome}",
        "Requests to the query API, by outcome: success, or the errorType of the answer.",
    )
    query_seconds = histogram(
        "ordinaut_observability_query_duration_seconds",
        "Time to answer a request to the query API, its waiting and pauses for other requests included.",
        buckets=QUERY,
    )
    metric_clashes = counter(
        "ordinaut_observability_metric_clashes_total{metric}",
        "Metrics of prometheus_client's default registry left out of the scrape because their names are ours.",
    )
    log_lines = counter(
        "ordinaut_observability_log_lines_total{destination,outcome}",
        "Log lines by destination (stderr, stdout, file; queue: before both) and outcome: written or dropped.",
    )
    log_records = counter(
        "ordinaut_observability_log_records_total{level,logger}",
        "Log lines of all kinds by level and logger, but for those dropped from a full queue.",
    )
    audit_records = counter(
        "ordinaut_observability_audit_records_total{outcome}",
        "Security events for the audit's files: written, or not, for the disk or as too_many (of a type in a minute).",
    )
    redactions = counter(
        "ordinaut_observability_redactions_total{kind}",
        "Secrets and personal data that were replaced in log lines and answers, by kind.",
    )
    request_ids_rejected = counter(
        "ordinaut_observability_request_ids_rejected_total{reason}",
        "Correlation ids of clients that were replaced, by reason.",
    )
    spans = counter(
        "ordinaut_observability_spans_total{outcome}",
        "Spans exported (a collector took them) or dropped (it did not, in time, or too many waited).",
    )
    errors_seen = counter(
        "ordinaut_observability_errors_seen_total{outcome}",
        "Errors logged or left to the server: grouped, counted_before (logged earlier), not_looked_at (too many).",
    )
    access_refused = counter(
        "ordinaut_observability_access_refused_total{tier,reason}",
        "Requests to protected endpoints that were turned away.",
    )
    relay_processes = gauge(
        "ordinaut_observability_relay_processes",
        "Processes whose metrics are merged here and that have not ended, this one included.",
    )
    relay_age = gauge(
        "ordinaut_observability_relay_age_seconds",
        "How long ago the relay store answered last. While it grows, what other processes count is not seen, "
        "and where several API processes share the store, the merged counts stand still.",
    )
    relay_failures = counter(
        "ordinaut_observability_relay_failures_total{operation}",
        "Calls of the relay store that failed: store, or origin (where queued work came from); number: counts "
        "that make no sense, not finite or below zero, and are left out.",
    )
    history_series = gauge(
        "ordinaut_observability_history_series",
        "Series of which this process keeps history, those included that ended lately.",
    )
    history_samples = gauge("ordinaut_observability_history_samples", "Samples kept as history; 8 bytes each.")
    history_refused = counter(
        "ordinaut_observability_history_series_refused_total",
        "Series of which no history was kept because there were too many, counted anew at every sample.",
    )
    history_last_tick = gauge(
        "ordinaut_observability_history_last_sample_timestamp_seconds", "When samples were last taken for history."
    )
