"""The settings by part: type, bounds, default of each, and the meaning that documentation and problems give.

A setting's variable is its name in capitals after the prefix of its part, or what `validation_alias` says.
"""

# No annotations from __future__ here: pydantic would compile each text, at the start of every host.

from pydantic import BaseModel, ConfigDict, Field

from ordinaut_ext_observability.settings import types
from ordinaut_ext_observability.settings.types import EVERYWHERE

PREFIX = "ORDINAUT_OBS_"


class Part(BaseModel):
    """One part of the settings."""

    model_config = ConfigDict(
        frozen=True,
        allow_inf_nan=False,
        populate_by_name=True,
        defer_build=True,  # most installations set variables of few parts
        alias_generator=lambda name: f"{PREFIX}{name.upper()}",
    )


class GeneralSettings(Part):
    """The switch for the whole extension, and where the process runs."""

    disabled: bool = False
    """Switch everything off: no route, no middleware, no thread."""
    metrics: types.AlwaysTrue = Field(default=True, validation_alias="ENABLE_METRICS")
    """Only `true`: health, history and alerts are made of metrics. `ORDINAUT_OBS_DISABLED=true` switches everything
    off, `ORDINAUT_OBS_HTTP_METRICS=false` the measuring of requests."""
    environment: types.ShownText = Field(default="development", validation_alias="ENVIRONMENT")
    """The host's variable; shown as a label of `ordinaut_observability_build_info`."""
    version: types.ShownText = Field(default="", validation_alias="VERSION")
    """The host's variable; shown likewise."""
    config: types.PathText | None = None
    """Path of the configuration file (YAML): checks of services, see docs/configuration.md."""
    scrub: bool = True
    """Replace secrets and personal data in log lines and answers; see docs/scrubbing.md."""
    scrub_key: types.Token | None = None
    """With this key, 16 characters or more, persons can be told apart: `[REDACTED_EMAIL:4f1c9a2b]`."""


class HttpSettings(Part):
    """Measuring the host's requests."""

    enabled: bool = Field(default=True, validation_alias=f"{PREFIX}HTTP_METRICS")
    """Count and time the host's requests."""
    buckets: types.Bounds = Field(
        default=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0),
        validation_alias=f"{PREFIX}HTTP_BUCKETS",
    )
    """Upper bounds of the duration histograms, in seconds, ascending."""
    server_timing: bool = True
    """Send `Server-Timing: app;dur=12.3` with every response: milliseconds until it began."""
    include_own_endpoints: bool = False
    """Measure requests to the extension's own endpoints too."""
    exclude_endpoints: types.PatternList = ()
    """Route templates not to measure, as shell patterns: `/docs,/internal/*`."""
    trust_request_ids_from: types.NetworkList = EVERYWHERE
    """Client addresses (CIDR) whose `X-Request-ID` and `X-Correlation-ID` are accepted; others get a new id and theirs
    is logged as `parent_request_id`."""


class MetricsSettings(Part):
    """Bounds on memory, and where `/metrics` is served."""

    label_budget: int = Field(default=100, ge=1, le=100_000)
    """Distinct values a label may take per metric; later ones are counted as `__other__`."""
    label_budgets: types.Limits = {}
    """The same for single labels, as JSON: `{"endpoint": 300}`."""
    series_limit: int = Field(default=10_000, ge=10, le=10_000_000)
    """Label sets a metric may have; later ones count as `__other__`."""
    multiprocess_dir: types.DirectoryText | None = Field(default=None, validation_alias="PROMETHEUS_MULTIPROC_DIR")
    """`prometheus_client`'s variable: what other code counts with it is shown of all processes."""
    root_metrics: bool = True
    """Serve `/metrics` at the root as well, unless the host has that path."""


class LogSettings(Part):
    """Log lines: how much, where to, and whose."""

    level: types.LogLevel = Field(default="INFO", validation_alias="LOG_LEVEL")
    """The host's variable: DEBUG, INFO, WARNING, ERROR or CRITICAL; the least level written."""
    configure_logging: bool = False
    """At start, write what the host, uvicorn and structlog log as JSON lines too; uvicorn's access lines end where ours
    are on."""
    access_log: bool = True
    """Write one JSON line per request."""
    access_log_sample_ratio: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of requests that are logged; failed and slow ones always are."""
    access_log_quiet_endpoints: types.PatternList = (
        "/health",
        "/health/*",
        "/healthz",
        "/livez",
        "/readyz",
        "/metrics",
    )
    """Route templates logged only when a request failed or was slow, as shell patterns."""
    slow_request_seconds: float = Field(default=1.0, gt=0.0)
    """From this duration on a request is logged as a warning."""
    destination: types.LogStream = Field(default="stderr", validation_alias=f"{PREFIX}LOG_DESTINATION")
    """Stream that the lines go to: `stderr`, `stdout` or `none`."""
    file: types.PathText | None = Field(default=None, validation_alias=f"{PREFIX}LOG_FILE")
    """Write the lines to a file too: for `/var/log/api.jsonl`, to `/var/log/api.0.jsonl`, or with the first number that
    no other process has."""
    file_max_bytes: int = Field(
        default=20_000_000, validation_alias=f"{PREFIX}LOG_FILE_MAX_BYTES", ge=65_536, le=10**10
    )
    """Size at which the file is renamed to `api.0.jsonl.1`, that one to `.2`, and a new one is begun."""
    files_kept: int = Field(default=5, validation_alias=f"{PREFIX}LOG_FILES_KEPT", ge=1, le=100)
    """Renamed files kept of each process; older ones are deleted."""


class HealthSettings(Part, alias_generator=lambda name: f"{PREFIX}HEALTH_{name.upper()}"):
    """Checks in the background."""

    interval_seconds: float = Field(default=15.0, ge=0.05, le=3600.0)
    """Seconds between runs of the checks, give or take a tenth."""
    deadline_seconds: float = Field(default=10.0, ge=0.05, le=600.0)
    """Longest time of all checks of a round, in seconds; one without a timeout of its own has 5."""
    startup_grace_seconds: float = Field(default=30.0, ge=0.0, le=3600.0)
    """Seconds that a required check may be `unknown` after the start: not ready meanwhile, unhealthy after."""
    disabled_checks: types.CheckNames = ()
    """Built-in checks to leave out: `cpu,memory,disk,file_descriptors,network,task_success,event_loop`."""
    disk_paths: types.PathList = Field(default=("/",), min_length=1, max_length=20)
    """Paths whose file systems the check `disk` looks at."""


class AccessSettings(Part):
    """Who may see what."""

    operator_token: types.Token | None = None
    """Bearer token (or Basic password) for the operator endpoints, 16 characters or more; they are off while it is
    unset."""
    viewer_token: types.Token | None = None
    """A second token for the operator endpoints, which sees everything and changes nothing."""
    scrape_token: types.Token | None = None
    """Bearer token (or Basic password) for the scrape endpoints; while unset they are open."""
    scrape_allow: types.NetworkList = EVERYWHERE
    """Client addresses (CIDR) that may scrape; with a token set, both are asked for."""


class AuditSettings(Part, alias_generator=lambda name: f"{PREFIX}AUDIT_{name.upper()}"):
    """Files that keep security events."""

    directory: types.PathText | None = Field(default=None, validation_alias=f"{PREFIX}AUDIT_DIR")
    """Directory for files of security events, this user's alone; unset: they are only logged and counted."""
    key: types.Token | None = None
    """Key of the hashes, 16 characters or more: without it nobody can write records that pass the check."""
    file_bytes: int = Field(default=10 * 1024 * 1024, ge=64 * 1024, le=1024**3)
    """Size from which on a process begins another file."""
    files: int = Field(default=200, ge=2, le=10_000)
    """Files of all processes that are kept; the oldest are deleted."""


class ManagementSettings(Part):
    """The port, thread and event loop of our own for scrapers and probes."""

    port: int | None = Field(default=None, validation_alias=f"{PREFIX}MANAGEMENT_PORT", ge=0, le=65535)
    """Serve metrics and probes on this port too; 0 takes a free one."""
    host: types.HostText = Field(default="127.0.0.1", validation_alias=f"{PREFIX}MANAGEMENT_HOST")
    """Address the management port listens on."""
    exporter_port: int | None = Field(default=None, ge=1, le=65535)
    """In a process without HTTP (worker, scheduler), serve metrics and probes on this port, or the next free one of
    ten."""
    exporter_host: types.HostText = "127.0.0.1"
    """Address the exporter listens on."""
    loop_blocked_seconds: float = Field(default=5.0, gt=0.0, le=3600.0)
    """When the host's event loop has been blocked longer, `/health/live` on the management port is 503."""


class RelaySettings(Part):
    """One `/metrics` for all processes, and the store that they share."""

    enabled: bool = Field(default=True, validation_alias=f"{PREFIX}RELAY")
    """Merge the metrics of all processes, where there is a store to do it through."""
    store: types.StoreText | None = None
    """The store that processes share: `redis` (that of `REDIS_URL`), `file:PATH` (a SQLite file, for
    processes of one user on one machine) or `memory` (nothing). Unset: Redis where `REDIS_URL` is one, else a file in a
    private directory of the user."""
    installation: types.InstallationName | None = None
    """Name of the installation: it is in every key and in the name of the file, so that several may share a Redis.
    Unset: a digest of host, port and database of `DATABASE_URL`, else of the working directory."""
    redis_url: types.RedisUrl | None = Field(default=None, validation_alias="REDIS_URL")
    """The host's variable: processes hand each other their metrics through this Redis; `memory://` and `disabled://`
    mean none."""
    directory: types.PathText | None = Field(default=None, validation_alias=f"{PREFIX}RELAY_DIR")
    """The same as `ORDINAUT_OBS_STORE=file:` and a file in this directory, where that is unset."""
    state_home: types.PathText | None = Field(default=None, validation_alias="XDG_STATE_HOME")
    """The user's variable: the file is made in `ordinaut-observability` there. Unset: `~/.local/state`."""
    interval_seconds: float = Field(default=5.0, validation_alias=f"{PREFIX}RELAY_INTERVAL_SECONDS", ge=0.1, le=60.0)
    """Seconds between publications of what a process counted. A process that is killed loses what it counted since."""


class CollectorSettings(Part):
    """Facts read from the host's PostgreSQL and Redis."""

    database_url: types.PostgresqlUrl | None = Field(default=None, validation_alias="DATABASE_URL")
    """The host's variable: queue, runs, workers and schedule are read from this PostgreSQL, `postgresql://` or
    `postgresql+psycopg://`."""
    enabled: bool = Field(default=True, validation_alias=f"{PREFIX}COLLECTORS")
    """Read the host's PostgreSQL and Redis in the background."""
    interval_seconds: float = Field(default=15.0, validation_alias=f"{PREFIX}COLLECTOR_INTERVAL_SECONDS", ge=1, le=3600)
    """Seconds between readings; more where reading takes long."""
    heartbeat_fresh_seconds: float = Field(default=75.0, ge=1.0, le=86400.0)
    """A worker whose last heartbeat is older does not count as active; the host's are 30 seconds apart."""
    instrument_database: bool = True
    """Time the statements of the host's SQLAlchemy engines, and watch their pools."""


class AlertSettings(Part, alias_generator=lambda name: f"{PREFIX}ALERTS_{name.upper()}"):
    """Alert rules, evaluated over the history."""

    enabled: bool = Field(default=True, validation_alias=f"{PREFIX}ALERTS")
    """Evaluate the built-in rules and those of `rule_files` in the configuration file."""
    external_url: types.ExternalUrl = Field(default="", validation_alias=f"{PREFIX}EXTERNAL_URL")
    """The URL under which people reach our endpoints, such as `https://ordinaut.example.com/ext/observability`:
    messages lead to runbooks and alerts there, and templates of alerts make links with it, as `{{ $externalURL }}`.
    Unset: empty, and there are no links."""
    settle_seconds: float = Field(default=30.0, ge=0.0, le=3600.0)
    """Seconds after the start in which no alert begins to fire and none is resolved: there is little history yet."""


class NotificationSettings(Part):
    """The people and programs that are told of alerts; routes in the configuration file (`alertmanager`) come first."""

    enabled: bool = Field(default=True, validation_alias=f"{PREFIX}NOTIFICATIONS")
    """Tell of alerts; off: alerts are evaluated and shown, and nobody is told."""
    slack_webhook_url: types.HttpSecret | None = Field(default=None, validation_alias="SLACK_WEBHOOK_URL")
    """Incoming webhook of Slack for warnings and critical alerts."""
    pagerduty_routing_key: types.Token | None = None
    """Integration key of PagerDuty (Events API v2) for critical alerts."""
    pagerduty_url: types.HttpText = "https://events.pagerduty.com/v2/enqueue"
    """Where PagerDuty takes events; for accounts in the EU `https://events.eu.pagerduty.com/v2/enqueue`."""
    smtp_url: types.SmtpUrl | None = None
    """Mail server, `smtp://user:password@host:587` (STARTTLS) or `smtps://user:password@host:465`."""
    email_to: types.TextList = ()
    """Addresses for mails on warnings (in business hours) and critical alerts."""
    email_from: str = ""
    """Sender of mails. Unset: the user in the URL where that is an address, else `ordinaut@` its host."""
    webhook_url: types.HttpSecret | None = None
    """A program that is told of warnings and critical alerts, with Alertmanager's JSON."""
    webhook_secret: types.Token | None = None
    """Key that signs what is sent to it."""
    business_hours: types.BusinessHours = "monday:friday 09:00-17:00"
    """Days and times in which warnings are mailed."""
    time_zone: types.TimeZone = "UTC"
    """Time zone of the business hours, such as `Europe/Berlin`."""
    alertmanager_urls: types.HttpList = ()
    """A real Alertmanager, or several that form a cluster: all get the alerts, and they tell people, not we."""
    strict_alertmanager: bool = False
    """Do all as Alertmanager does: a silence also holds back that what was told is over, and its end tells nobody."""
    watchdog_url: types.HttpSecret | None = None
    """A dead-man's switch, such as a check of healthchecks.io: it is called every minute while alerts are evaluated."""


class TracingSettings(Part):
    """Spans over OTLP/HTTP. All other `OTEL_*` variables are OpenTelemetry's own and have their effect, too."""

    enabled: bool | None = Field(default=None, validation_alias=f"{PREFIX}TRACING")
    """Trace requests. Unset: where one of the variables below names an endpoint or an exporter."""
    endpoint: types.ShownText = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT")
    """OpenTelemetry's variable: the collector, such as `http://localhost:4318`, which is also the default."""
    traces_endpoint: types.ShownText = Field(default="", validation_alias="OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    """OpenTelemetry's variable: the whole URL for spans, `/v1/traces` included."""
    exporter: types.ShownText = Field(default="", validation_alias="OTEL_TRACES_EXPORTER")
    """OpenTelemetry's variable: `none` switches tracing off where `ORDINAUT_OBS_TRACING` is unset."""
    sdk_disabled: bool = Field(default=False, validation_alias="OTEL_SDK_DISABLED")
    """OpenTelemetry's variable: switches tracing off."""

    @property
    def wanted(self) -> bool:
        """True where the process is to trace."""
        named = self.exporter != "none" and bool(self.exporter or self.endpoint or self.traces_endpoint)
        return not self.sdk_disabled and (named if self.enabled is None else self.enabled)


class HistorySettings(Part, alias_generator=lambda name: f"{PREFIX}HISTORY_{name.upper()}"):
    """The metrics of the near past, kept in memory by every process that serves."""

    enabled: bool = Field(default=True, validation_alias=f"{PREFIX}HISTORY")
    """Keep history; queries need it."""
    interval_seconds: float = Field(default=15.0, ge=1.0, le=300.0)
    """Seconds between two samples."""
    retention_seconds: float = Field(default=3600.0, ge=300.0, le=86400.0)
    """Seconds for which samples are kept."""
    series_limit: int = Field(default=20_000, ge=100, le=200_000)
    """Series of which history is kept, each bucket of a histogram being one; of further ones there is none. 5,000 take
    14 MB with the other defaults."""


class ProfilingSettings(Part):
    """Profiles of functions that are decorated with `profile_execution`; read once, when the first one is."""

    enabled: bool = Field(default=False, validation_alias="ENABLE_PROFILING")
    """Sample the processor while those functions are called."""
    directory: types.DirectoryText | None = Field(default=None, validation_alias=f"{PREFIX}PROFILE_DIR")
    """Directory for the profiles; unset: there are none."""
