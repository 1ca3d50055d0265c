"""Settings and variables that ask for tracing."""

from __future__ import annotations

import pytest

from ordinaut_ext_observability.settings.load import load_settings

pytestmark = pytest.mark.usefixtures("clean_process", "no_tracer_provider")


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({"ORDINAUT_OBS_TRACING": "true"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "ORDINAUT_OBS_TRACING": "false"}, False),
        ({"ORDINAUT_OBS_TRACING": "true", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_tracing_is_on_where_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], wanted: bool
) -> None:
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert load_settings().tracing.wanted is wanted
