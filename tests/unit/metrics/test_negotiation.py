"""Accept and Accept-Encoding, as real scrapers and as hostile clients send them."""

from __future__ import annotations

import inspect

import pytest
from prometheus_client import exposition, generate_latest

from ordinaut_ext_observability.metrics.negotiation import OPENMETRICS, TEXT, Format, accepts_gzip, choose_format

CLIENT_ESCAPES = "escaping" in inspect.signature(generate_latest).parameters

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_2_EARLY = "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,"
    "application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,"
    "text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
)
PROMETHEUS_3_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.7," + PROMETHEUS_3
)
PROMETHEUS_3_TEXT = "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.2"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    "accept",
    [
        PROMETHEUS_2,
        PROMETHEUS_2_EARLY,
        PROMETHEUS_3,
        PROMETHEUS_3_PROTOBUF,
        "application/openmetrics-text",
        "APPLICATION/OpenMetrics-Text; Version=1.0.0",
        ' application/openmetrics-text ; version="1.0.0" ; q=0.1 ',
        "application/openmetrics-text;q=0.5,text/plain;q=0.5",
        "application/openmetrics-text;q=0.001",
        "application/openmetrics-text;version=1.0.0;q=1.000,text/plain;q=0.999",
        "text/plain;q=0,application/openmetrics-text;q=0.2",
    ],
)
def test_openmetrics_where_the_client_prefers_it(accept: str) -> None:
    assert choose_format(accept).openmetrics


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/plain",
        "text/*",
        BROWSER,
        "application/json",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;q=0.000,*/*",
        "application/openmetrics-text;q=0.4,text/plain;q=0.5",
        "application/openmetrics-text;q=0.4,text/*;q=0.5",
        "text/plain,application/openmetrics-text;q=0.9",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;version=",
        "application/openmetrics-textual",
    ],
)
def test_text_otherwise(accept: str) -> None:
    assert choose_format(accept) == TEXT


@pytest.mark.parametrize(
    "accept",
    [
        "a" * 100_000,
        "," * 100_000,
        ";" * 100_000,
        "=" * 100_000,
        "q=" * 50_000,
        "text/plain;q=" + "9" * 100_000,
        "*/*," * 25_000 + "application/openmetrics-text",
        "".join(map(chr, range(32))),
        "\x00\x7f\r\n\t;\x00=\x00,\x00",
        "application/openmetrics-text;q=nan",
        "application/openmetrics-text;q=-nan",
        "application/openmetrics-text;q=inf",
        "application/openmetrics-text;q=-inf",
        "application/openmetrics-text;q=1e999",
        "application/openmetrics-text;q=-1",
        "application/openmetrics-text;q=-0.5",
        "application/openmetrics-text;q=2",
        "application/openmetrics-text;q=",
        "application/openmetrics-text;q=high",
        "application/openmetrics-text;q=0x1",
        "application/openmetrics-text;version=1.0.0\x00",
        "\udcff\ud800",
        "é日本😀",
    ],
)
def test_hostile_headers_get_text(accept: str) -> None:
    assert choose_format(accept) == TEXT
    assert accepts_gzip(accept) is False


def test_a_bad_entry_does_not_spoil_a_good_one() -> None:
    assert choose_format("text/plain;q=nan,application/openmetrics-text;q=0.1") == OPENMETRICS
    assert choose_format(";;;,=,application/openmetrics-text") == OPENMETRICS


@pytest.mark.parametrize("scheme", ["allow-utf-8", "underscores", "values"])
def test_escaping_that_is_asked_for_is_honoured(scheme: str) -> None:
    for kind in ("text/plain", "application/openmetrics-text"):
        chosen = choose_format(f"{kind}; version=1.0.0; escaping={scheme}, text/plain;version=0.0.4;q=0.5")
        assert chosen == Format(openmetrics=kind != "text/plain", escaping=scheme)
        assert chosen.content_type == f"{kind}; version=1.0.0; charset=utf-8; escaping={scheme}"


def test_what_prometheus_3_sends_gets_the_escaping_of_its_first_choice() -> None:
    assert choose_format(PROMETHEUS_3) == Format(openmetrics=True, escaping="allow-utf-8")
    assert choose_format(PROMETHEUS_3_PROTOBUF) == Format(openmetrics=True, escaping="allow-utf-8")
    assert choose_format(PROMETHEUS_3_TEXT) == Format(escaping="allow-utf-8")
    assert choose_format(PROMETHEUS_2_EARLY) == OPENMETRICS


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("text/plain;version=1.0.0;escaping=rot13", Format(escaping="underscores")),
        ("text/plain;version=1.0.0;escaping=", Format(escaping="underscores")),
        ("text/plain;version=1.0.0;escaping=ALLOW-UTF-8", Format(escaping="underscores")),
        ("text/plain;version=1.0.0", Format(escaping="underscores")),
        ("text/plain;escaping=allow-utf-8", TEXT),
        ("text/plain;version=0.0.4;escaping=allow-utf-8", TEXT),
        ("application/openmetrics-text;version=0.0.1;escaping=allow-utf-8", OPENMETRICS),
        ("application/openmetrics-text;escaping=allow-utf-8", OPENMETRICS),
        ("*/*;version=1.0.0;escaping=allow-utf-8", TEXT),
        ("text/*;version=1.0.0;escaping=allow-utf-8;q=0.1", Format(escaping="allow-utf-8")),
        ("text/plain;q=0.4,text/plain;version=1.0.0;escaping=values;q=0.5", Format(escaping="values")),
        ("text/plain;version=1.0.0;escaping=values;q=0.4,text/plain;q=0.5", TEXT),
        ("text/plain;version=1.0.0;escaping=values;q=nan", TEXT),
        ("text/plain;version=1.0.0;escaping=values;q=0", TEXT),
        ("text/plain;version=1.0.0;escaping=allow-utf-8\r\nX: y", Format(escaping="underscores")),
    ],
)
def test_escaping_is_only_said_where_the_format_and_the_scheme_are_known(accept: str, expected: Format) -> None:
    assert choose_format(accept) == expected


@pytest.mark.skipif(not CLIENT_ESCAPES, reason="this prometheus_client has no escaping")
@pytest.mark.parametrize("scheme", ["allow-utf-8", "underscores", "dots", "values", "rot13", None])
@pytest.mark.parametrize("version", ["1.0.0", None])
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_content_types_are_those_of_the_client(kind: str, version: str | None, scheme: str | None) -> None:
    accept = "; ".join(
        [kind, *([f"version={version}"] if version else []), *([f"escaping={scheme}"] if scheme else [])]
    )
    assert choose_format(accept).content_type == exposition.choose_encoder(accept)[1]


def test_dots_are_only_promised_where_the_client_can_write_them() -> None:
    expected = "dots" if CLIENT_ESCAPES else "underscores"
    assert choose_format("text/plain;version=1.0.0;escaping=dots") == Format(escaping=expected)


def test_formats_carry_the_content_types_scrapers_expect() -> None:
    assert TEXT.content_type == "text/plain; version=0.0.4; charset=utf-8"
    assert OPENMETRICS.content_type == "application/openmetrics-text; version=1.0.0; charset=utf-8"


@pytest.mark.parametrize(
    "accept_encoding",
    ["gzip", "GZIP", " gzip ", "x-gzip", "gzip, deflate, br", "deflate;q=1, gzip;q=0.1", "*", "*;q=0.1", "br,*",
     "gzip;q=1,*;q=0"],
)  # fmt: skip
def test_clients_that_take_gzip(accept_encoding: str) -> None:
    assert accepts_gzip(accept_encoding) is True


@pytest.mark.parametrize(
    "accept_encoding",
    ["", "identity", "br", "deflate", "gzip;q=0", "gzip;q=0.000", "gzip;q=nan", "gzip;q=-1", "*;q=0", "gzip;q=0,*",
     "*,gzip;q=0", "gzipped", "identity;q=1"],
)  # fmt: skip
def test_clients_that_do_not_take_gzip(accept_encoding: str) -> None:
    assert accepts_gzip(accept_encoding) is False
