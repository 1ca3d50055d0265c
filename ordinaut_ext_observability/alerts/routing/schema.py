"""Models of what the configuration file has under `alertmanager`: a subset of `alertmanager.yml`, and a little more.

https://prometheus.io/docs/alerting/latest/configuration/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, SecretStr, SerializerFunctionWrapHandler, model_serializer

from ordinaut_ext_observability.alerts.routing.fields import (
    Duration,
    HostAndPort,
    HttpUrl,
    Matchers,
    Regexes,
    SecretFile,
    read_durations,
)
from ordinaut_ext_observability.alerts.routing.intervals import MAX_ENTRIES, TimeIntervals
from ordinaut_ext_observability.alerts.routing.matchers import make_matcher, match_all, sort_matchers
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.settings.reading import Section

Secret = Annotated[SecretStr, PlainSerializer(SecretStr.get_secret_value)]
"""Shown nowhere but where it is written out."""


def all_matchers(
    matchers: Iterable[LabelMatcher], equal: Mapping[str, str], regexes: Mapping[str, str]
) -> tuple[LabelMatcher, ...]:
    """The matchers of all three ways to write them, sorted."""
    written = [make_matcher(name, "=", value) for name, value in equal.items()]
    written += [make_matcher(name, "=~", value) for name, value in regexes.items()]
    return sort_matchers([*matchers, *written])


class TlsConfig(Section):
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    insecure_skip_verify: bool = False


class WithSecrets(Section):
    """A mapping with secrets. Written out, what a file holds stands where it would be written itself."""

    @model_serializer(mode="wrap")
    def _plain(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        options: dict[str, Any] = write(self)
        for name in [name for name in options if f"{name}_file" in options]:
            content = options.pop(f"{name}_file")
            options[name] = options[name] if content is None else content
        return options


class BasicAuth(WithSecrets):
    username: str = ""
    password: Secret | None = None
    password_file: SecretFile | None = None


class Authorization(WithSecrets):
    type: str = "Bearer"
    credentials: Secret | None = None
    credentials_file: SecretFile | None = None


class HttpConfig(Section):
    """The way to an HTTP receiver: who we are to it, and through what."""

    basic_auth: BasicAuth | None = None
    authorization: Authorization | None = None
    proxy_url: HttpUrl | None = None
    tls_config: TlsConfig = TlsConfig()
    follow_redirects: bool = True


class IntegrationConfig(WithSecrets):
    """What every integration may say."""

    send_resolved: bool = True
    """Tell when it is over, too."""


class SlackConfig(IntegrationConfig):
    send_resolved: bool = False
    api_url: Secret | None = None
    api_url_file: SecretFile | None = None
    channel: str = ""
    username: str = ""
    http_config: HttpConfig | None = None


class PagerDutyConfig(IntegrationConfig):
    routing_key: Secret | None = None
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
    auth_password: Secret | None = None
    auth_password_file: SecretFile | None = None
    require_tls: bool | None = None
    tls_config: TlsConfig = TlsConfig()


class WebhookConfig(IntegrationConfig):
    url: Secret | None = None
    url_file: SecretFile | None = None
    max_alerts: int = Field(default=0, ge=0)
    http_config: HttpConfig | None = None
    secret: Secret | None = None
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
    match_re: Regexes = Field(default={})
    continue_: bool = Field(default=False, alias="continue")
    mute_time_intervals: list[str] = Field(default=[])
    active_time_intervals: list[str] = Field(default=[])
    routes: list[RouteConfig] = Field(default=[], max_length=MAX_ENTRIES)

    @cached_property
    def all_matchers(self) -> tuple[LabelMatcher, ...]:
        """The matchers of all three ways to write them."""
        return all_matchers(self.matchers, self.match, self.match_re)


class InhibitRule(Section):
    """While a source fires, its targets that have the same values of the `equal` labels are not told."""

    source_matchers: Matchers = Field(default=[])
    target_matchers: Matchers = Field(default=[])
    source_match: dict[str, str] = Field(default={})
    source_match_re: Regexes = Field(default={})
    target_match: dict[str, str] = Field(default={})
    target_match_re: Regexes = Field(default={})
    equal: list[str] = Field(default=[])

    @cached_property
    def source(self) -> tuple[LabelMatcher, ...]:
        """The matchers of a source."""
        return all_matchers(self.source_matchers, self.source_match, self.source_match_re)

    @cached_property
    def target(self) -> tuple[LabelMatcher, ...]:
        """The matchers of a target."""
        return all_matchers(self.target_matchers, self.target_match, self.target_match_re)


class GlobalConfig(WithSecrets):
    resolve_timeout: Duration = 300_000
    slack_api_url: Secret | None = None
    slack_api_url_file: SecretFile | None = None
    pagerduty_url: HttpUrl | None = None
    smtp_from: str | None = None
    smtp_smarthost: HostAndPort | None = None
    smtp_hello: str | None = None
    smtp_auth_username: str | None = None
    smtp_auth_password: Secret | None = None
    smtp_auth_password_file: SecretFile | None = None
    smtp_require_tls: bool = True
    http_config: HttpConfig = HttpConfig()


class RoutingConfig(Section):
    global_: GlobalConfig = Field(default=GlobalConfig(), alias="global")
    route: RouteConfig = RouteConfig()
    receivers: list[ReceiverConfig] = Field(default=[], max_length=MAX_ENTRIES)
    inhibit_rules: list[InhibitRule] = Field(default=[], max_length=MAX_ENTRIES)
    time_intervals: list[TimeIntervals] = Field(default=[], max_length=MAX_ENTRIES)
    mute_time_intervals: list[TimeIntervals] = Field(default=[], max_length=MAX_ENTRIES)


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
        return match_all(self.matchers, labels)


class EscalationsConfig(Section):
    escalations: list[EscalationConfig] = Field(default=[], max_length=100)
