"""Models of what the configuration file has under `alertmanager`: a subset of `alertmanager.yml`, and a little more.

https://prometheus.io/docs/alerting/latest/configuration/
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field, SecretStr

from ordinaut_ext_observability.alerts.routing import intervals
from ordinaut_ext_observability.alerts.routing.fields import (
    Duration,
    HostAndPort,
    HttpUrl,
    Matchers,
    SecretFile,
    read_durations,
)
from ordinaut_ext_observability.settings.reading import Section

MAX_ENTRIES: Final = 500
"""Routes below one route, receivers, rules: more than any real configuration has."""


class TlsConfig(Section):
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False


class BasicAuth(Section):
    username: str = ""
    password: SecretStr | None = None
    password_file: SecretFile | None = None


class Authorization(Section):
    type: str = "Bearer"
    credentials: SecretStr | None = None
    credentials_file: SecretFile | None = None


class HttpConfig(Section):
    """The way to an HTTP receiver: who we are to it, and through what."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    proxy_url: HttpUrl | None = None
    tls_config: TlsConfig = TlsConfig()
    follow_redirects: bool = True


class IntegrationConfig(Section):
    """What every integration may say."""

    send_resolved: bool = True
    """Tell when it is over, too."""


class SlackConfig(IntegrationConfig):
    send_resolved: bool = False
    api_url: SecretStr | None = None
    api_url_file: SecretFile | None = None
    channel: str = ""
    username: str = ""
    http_config: HttpConfig | None = None


class PagerDutyConfig(IntegrationConfig):
    routing_key: SecretStr | None = None
    routing_key_file: SecretFile | None = None
    url: HttpUrl | None = None
    http_config: HttpConfig | None = None


class EmailConfig(IntegrationConfig):
    send_resolved: bool = False
    to: str = Field(min_length=3)
    from_: str | None = Field(default=None, alias="from")
    smarthost: HostAndPort | None = None
    hello: str | None = None
    auth_username: str | None = None
    auth_password: SecretStr | None = None
    auth_password_file: SecretFile | None = None
    require_tls: bool | None = None
    tls_config: TlsConfig = TlsConfig()


class WebhookConfig(IntegrationConfig):
    url: SecretStr | None = None
    url_file: SecretFile | None = None
    max_alerts: int = Field(default=0, ge=0)
    http_config: HttpConfig | None = None
    secret: SecretStr | None = None
    """Ours: signs the body, so that the receiver knows who sent it."""
    secret_file: SecretFile | None = None


class LogConfig(IntegrationConfig):
    """Ours: lines in the log."""


class FunctionConfig(IntegrationConfig):
    """Ours: a function that `add_notification_channel` named; `*`: those that `routing_rules` name for the severity."""

    name: str = Field(min_length=1, max_length=100)
    besides: list[str] = Field(default=[], max_length=100)
    """Names that `*` does not mean."""


class ReceiverConfig(Section):
    name: str = Field(min_length=1, max_length=200)
    slack_configs: list[SlackConfig] = Field(default=[], max_length=MAX_ENTRIES)
    pagerduty_configs: list[PagerDutyConfig] = Field(default=[], max_length=MAX_ENTRIES)
    email_configs: list[EmailConfig] = Field(default=[], max_length=MAX_ENTRIES)
    webhook_configs: list[WebhookConfig] = Field(default=[], max_length=MAX_ENTRIES)
    log_configs: list[LogConfig] = Field(default=[], max_length=MAX_ENTRIES)
    function_configs: list[FunctionConfig] = Field(default=[], max_length=MAX_ENTRIES)


class RouteConfig(Section):
    receiver: str | None = None
    group_by: list[str] | None = None
    group_wait: Duration | None = None
    group_interval: Annotated[Duration, Field(gt=0)] | None = None
    repeat_interval: Annotated[Any, BeforeValidator(read_durations)] = None
    matchers: Matchers = Field(default=[])
    match: dict[str, str] = Field(default={})
    match_re: dict[str, str] = Field(default={})
    continue_: bool = Field(default=False, alias="continue")
    mute_time_intervals: list[str] = Field(default=[])
    active_time_intervals: list[str] = Field(default=[])
    routes: list[RouteConfig] = Field(default=[], max_length=MAX_ENTRIES)


class InhibitConfig(Section):
    source_matchers: Matchers = Field(default=[])
    target_matchers: Matchers = Field(default=[])
    source_match: dict[str, str] = Field(default={})
    source_match_re: dict[str, str] = Field(default={})
    target_match: dict[str, str] = Field(default={})
    target_match_re: dict[str, str] = Field(default={})
    equal: list[str] = Field(default=[])


class TimeIntervalConfig(Section):
    times: Annotated[Any, BeforeValidator(intervals.read_times)] = ()
    weekdays: Annotated[Any, BeforeValidator(intervals.read_weekdays)] = ()
    days_of_month: Annotated[Any, BeforeValidator(intervals.read_days_of_month)] = ()
    months: Annotated[Any, BeforeValidator(intervals.read_months)] = ()
    years: Annotated[Any, BeforeValidator(intervals.read_years)] = ()
    location: Annotated[Any, BeforeValidator(intervals.read_location)] = UTC


class NamedIntervals(Section):
    name: str = Field(min_length=1)
    time_intervals: list[TimeIntervalConfig] = Field(default=[], max_length=MAX_ENTRIES)


class GlobalConfig(Section):
    resolve_timeout: Duration = 300_000
    slack_api_url: SecretStr | None = None
    slack_api_url_file: SecretFile | None = None
    pagerduty_url: HttpUrl | None = None
    smtp_from: str | None = None
    smtp_smarthost: HostAndPort | None = None
    smtp_hello: str | None = None
    smtp_auth_username: str | None = None
    smtp_auth_password: SecretStr | None = None
    smtp_auth_password_file: SecretFile | None = None
    smtp_require_tls: bool = True
    http_config: HttpConfig = HttpConfig()


class RoutingConfig(Section):
    global_: GlobalConfig = Field(default=GlobalConfig(), alias="global")
    route: RouteConfig = RouteConfig()
    receivers: list[ReceiverConfig] = Field(default=[], max_length=MAX_ENTRIES)
    inhibit_rules: list[InhibitConfig] = Field(default=[], max_length=MAX_ENTRIES)
    time_intervals: list[NamedIntervals] = Field(default=[], max_length=MAX_ENTRIES)
    mute_time_intervals: list[NamedIntervals] = Field(default=[], max_length=MAX_ENTRIES)


class LevelConfig(Section):
    receiver: str
    after: Duration
    """Milliseconds from the first notification of a group."""
    repeat: Annotated[Duration, Field(gt=0)] | None = None
    """Milliseconds between notifications of this receiver; None: as the group's route has it."""
    active_time_intervals: list[str] = Field(default=[])
    """Times in which the level is reached; then it stays until the group is resolved."""


class EscalationConfig(Section):
    """Who else is told, level by level, of what still fires and nobody acknowledged."""

    matchers: Matchers = Field(default=[])
    levels: list[LevelConfig] = Field(min_length=1, max_length=10)
    ack_timeout: Annotated[Duration, Field(gt=0)] = 4 * 3_600_000
    """Milliseconds for which an acknowledgement holds that names no time."""

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Tell whether it is about an alert of these labels."""
        return all(matcher.matches(labels.get(matcher.name, "")) for matcher in self.matchers)


class EscalationsConfig(Section):
    escalations: list[EscalationConfig] = Field(default=[], max_length=100)
