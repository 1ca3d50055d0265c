"""Metrics that other code registered with `prometheus_client`."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, Info
from prometheus_client import generate_latest as client_text
from prometheus_client.core import GaugeHistogramMetricFamily, GaugeMetricFamily, StateSetMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as client_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from ordinaut_ext_observability.metrics.exposition import ESCAPINGS, OPENMETRICS_END
from ordinaut_ext_observability.metrics.foreign import ForeignMetrics


class Setting:
    """A registry of other code, and what became of its metrics."""

    def __init__(self, registry: CollectorRegistry | None = None, reserved: set[str] | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self.clashes: list[str] = []
        self.errors: list[BaseException] = []
        self.foreign = ForeignMetrics(
            reserved_names=lambda: reserved or set(),
            on_clash=self.clashes.append,
            on_error=self.errors.append,
            registry=self.registry,
        )

    def text(self, only: frozenset[str] | None = None) -> str:
        return "".join(self.foreign.render(openmetrics=False, only=only))

    def openmetrics(self) -> str:
        return "".join(self.foreign.render(openmetrics=True)) + OPENMETRICS_END

    def assert_printed_as_the_client_prints_it(self) -> None:
        assert self.text().encode() == client_text(self.registry)
        assert self.openmetrics().encode() == client_openmetrics(self.registry)
        assert self.errors == []


class CollectorOf:
    """A collector of given metrics that then raises, when told so."""

    def __init__(self, *metrics: Metric, error: Exception | None = None) -> None:
        self._metrics = metrics
        self._error = error

    def collect(self) -> Iterator[Metric]:
        yield from self._metrics
        if self._error is not None:
            raise self._error


@pytest.fixture
def setting() -> Setting:
    return Setting()


@pytest.fixture
def no_created_series() -> Iterator[None]:
    prometheus_client.disable_created_metrics()
    yield
    prometheus_client.enable_created_metrics()


def gauge(name: str, value: float = 1.0) -> Metric:
    return GaugeMetricFamily(name, "Help.", value)


def test_the_default_registry_is_the_clients(request: pytest.FixtureRequest) -> None:
    metric = prometheus_client.Gauge("foreign_test_gauge", "Help.")
    request.addfinalizer(lambda: prometheus_client.REGISTRY.unregister(metric))
    metric.set(42)
    errors: list[BaseException] = []
    foreign = ForeignMetrics(reserved_names=set, on_clash=errors.append, on_error=errors.append)  # type: ignore[arg-type]
    assert "foreign_test_gauge 42.0\n" in "".join(foreign.render(openmetrics=False))
    assert errors == []


def test_metrics_of_every_type_are_printed_as_the_client_prints_them(setting: Setting) -> None:
    registry = setting.registry
    prometheus_client.Counter("c", 'Help "quoted"\nand more.', ["x"], registry=registry).labels('a"b\\c\nd').inc()
    prometheus_client.Gauge("g", "Help.", registry=registry).set(1e21)
    prometheus_client.Histogram("h", "Help.", ["x"], registry=registry).labels("1").observe(2)
    prometheus_client.Summary("s", "Help.", registry=registry).observe(1)
    prometheus_client.Enum("e", "Help.", states=["on", "off"], registry=registry).state("off")
    Info("i", "Help.", registry=registry).info({"version": "1"})
    registry.register(CollectorOf(StateSetMetricFamily("ss", "Help.", value={"a": True})))
    registry.register(CollectorOf(GaugeHistogramMetricFamily("gh", "Help.", buckets=[("+Inf", 3)], gsum_value=4)))
    setting.assert_printed_as_the_client_prints_it()


def test_an_empty_registry_prints_nothing(setting: Setting) -> None:
    assert list(setting.foreign.render(openmetrics=False)) == []


@pytest.mark.parametrize("reserved", ["requests_total", "requests"])
def test_ours_win_over_a_users_counter_of_the_same_name_and_that_is_told_once(reserved: str) -> None:
    setting = Setting(reserved={reserved})
    prometheus_client.Counter("requests", "Theirs.", registry=setting.registry).inc()
    prometheus_client.Gauge("other", "Theirs.", registry=setting.registry).set(1)
    for _ in range(3):
        assert setting.text() == "# HELP other Theirs.\n# TYPE other gauge\nother 1.0\n"
    assert "requests" not in setting.openmetrics()
    assert setting.clashes == ["requests"]


def test_a_users_metric_that_prints_one_of_our_sample_names_is_left_out() -> None:
    setting = Setting(reserved={"wait_seconds", "wait_seconds_bucket", "wait_seconds_count", "wait_seconds_sum"})
    prometheus_client.Gauge("wait_seconds_count", "Theirs.", registry=setting.registry).set(1)
    assert setting.text() == ""
    assert setting.clashes == ["wait_seconds_count"]


def test_a_users_labelled_counter_without_series_clashes_by_its_family_name() -> None:
    setting = Setting(reserved={"requests_total", "requests"})
    prometheus_client.Counter("requests", "Theirs.", ["x"], registry=setting.registry)
    assert setting.text() == ""
    assert setting.clashes == ["requests"]


def test_names_reserved_later_are_heeded() -> None:
    reserved: set[str] = set()
    setting = Setting()
    foreign = ForeignMetrics(
        reserved_names=lambda: reserved,
        on_clash=setting.clashes.append,
        on_error=setting.errors.append,
        registry=setting.registry,
    )
    prometheus_client.Gauge("late", "Theirs.", registry=setting.registry).set(1)
    assert list(foreign.render(openmetrics=False)) != []
    reserved.add("late")
    assert list(foreign.render(openmetrics=False)) == []


def test_a_collector_that_raises_costs_only_itself(setting: Setting) -> None:
    error = RuntimeError("database gone")
    setting.registry.register(CollectorOf(gauge("first")))
    setting.registry.register(CollectorOf(error=error))
    setting.registry.register(CollectorOf(gauge("last")))
    assert "first 1.0\n" in setting.text()
    assert "last 1.0\n" in setting.text()
    assert setting.errors == [error, error]


def test_what_a_collector_gave_before_it_raised_is_printed(setting: Setting) -> None:
    setting.registry.register(CollectorOf(gauge("before"), error=ValueError("half way")))
    assert "before 1.0\n" in setting.text()
    assert len(setting.errors) == 1


def test_a_collector_that_returns_no_metrics_at_all_costs_only_itself(setting: Setting) -> None:
    class Broken:
        def collect(self) -> Iterable[Metric]:
            return None  # type: ignore[return-value]

    setting.registry.register(Broken())
    setting.registry.register(CollectorOf(gauge("last")))
    assert "last 1.0\n" in setting.text()
    assert [type(error) for error in setting.errors] == [TypeError]


def test_a_collector_that_gives_something_else_than_metrics_costs_only_itself(setting: Setting) -> None:
    setting.registry.register(CollectorOf(None))  # type: ignore[arg-type]
    setting.registry.register(CollectorOf(gauge("last")))
    assert "last 1.0\n" in setting.text()
    assert len(setting.errors) == 1


@pytest.mark.parametrize("value", ["not a number", None, object()])
def test_a_value_that_cannot_be_printed_costs_only_its_metric(setting: Setting, value: object) -> None:
    broken = Metric("broken", "Help.", "gauge")
    broken.add_sample("broken", {"x": "1"}, value)  # type: ignore[arg-type]
    setting.registry.register(CollectorOf(gauge("before"), broken, gauge("after")))
    text = setting.text()
    assert "broken" not in text
    assert "before 1.0\n" in text
    assert "after 1.0\n" in text
    assert len(setting.errors) == 1


def test_a_label_value_that_is_not_text_costs_only_its_metric(setting: Setting) -> None:
    broken = Metric("broken", "Help.", "gauge")
    broken.add_sample("broken", {"x": 200}, 1.0)  # type: ignore[dict-item]
    setting.registry.register(CollectorOf(broken, gauge("after")))
    assert "after 1.0\n" in setting.text()
    assert len(setting.errors) == 1


def test_only_wanted_metrics_are_printed(setting: Setting) -> None:
    prometheus_client.Histogram("h", "Help.", registry=setting.registry).observe(1)
    setting.registry.register(CollectorOf(gauge("a"), gauge("b")))
    assert "# TYPE h histogram" in setting.text(only=frozenset({"h_sum"}))
    assert setting.text(only=frozenset({"b", "unknown"})) == "# HELP b Help.\n# TYPE b gauge\nb 1.0\n"
    assert setting.text(only=frozenset()) == ""


@pytest.mark.parametrize("samples", [199, 200, 201, 400, 401, 1000])
def test_a_gauge_of_many_samples_is_printed_in_parts_with_the_same_text(setting: Setting, samples: int) -> None:
    metric = prometheus_client.Gauge("g", 'Help\nwith "all" \\.', ["x"], registry=setting.registry)
    for number in range(samples):
        metric.labels(f"{number}\n# HELP").set(number)
    setting.assert_printed_as_the_client_prints_it()
    pieces = list(setting.foreign.render(openmetrics=False))
    assert len(pieces) == -(-samples // 200)
    assert max(piece.count("\n") for piece in pieces) <= 202


@pytest.mark.usefixtures("no_created_series")
def test_counters_and_histograms_of_many_samples_are_printed_in_parts_with_the_same_text(setting: Setting) -> None:
    counter = prometheus_client.Counter("c", "Help.", ["x"], registry=setting.registry)
    histogram = prometheus_client.Histogram("h", "Help.", ["x"], registry=setting.registry)
    for number in range(300):
        counter.labels(str(number)).inc(number)
        histogram.labels(str(number)).observe(number, exemplar={"trace_id": str(number)})
    setting.assert_printed_as_the_client_prints_it()
    assert len(list(setting.foreign.render(openmetrics=True))) > 10


def test_a_metric_with_created_samples_stays_whole(setting: Setting) -> None:
    """The client prints them as a gauge of their own behind the metric; in parts it would be there many times."""
    counter = prometheus_client.Counter("c", "Help.", ["x"], registry=setting.registry)
    for number in range(300):
        counter.labels(str(number)).inc()
    setting.assert_printed_as_the_client_prints_it()
    assert setting.text().count("# TYPE c_created gauge\n") == 1
    assert len(list(setting.foreign.render(openmetrics=False))) == 1


def test_splitting_leaves_the_collectors_own_metric_as_it_was(setting: Setting) -> None:
    metric = Metric("g", "Help.", "gauge")
    for number in range(500):
        metric.add_sample("g", {"x": str(number)}, 1.0)
    setting.registry.register(CollectorOf(metric))
    first = setting.text()
    assert len(metric.samples) == 500
    assert setting.text() == first


@pytest.mark.parametrize("separator", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_a_split_metric_has_one_header_whatever_its_help_contains(setting: Setting, separator: str) -> None:
    metric = prometheus_client.Gauge("g", f"Help{separator}and more.", ["x"], registry=setting.registry)
    for number in range(300):
        metric.labels(str(number)).set(number)
    setting.assert_printed_as_the_client_prints_it()


def test_a_split_metric_has_one_header_whatever_its_label_values_contain(setting: Setting) -> None:
    metric = prometheus_client.Gauge("g", "Help.", ["x"], registry=setting.registry)
    for number in range(300):
        metric.labels(f"{number}\u2028# more").set(number)
    setting.assert_printed_as_the_client_prints_it()


def test_target_information_is_printed() -> None:
    Setting(CollectorRegistry(target_info={"service": "ordinaut"})).assert_printed_as_the_client_prints_it()


def test_files_of_several_processes_are_shown_as_one(tmp_path: Path) -> None:
    script = "import prometheus_client; prometheus_client.Counter('mine_total', 'Mine.').inc(3)"
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    foreign = ForeignMetrics(
        reserved_names=set, on_clash=lambda _: None, on_error=lambda _: None, multiprocess_dir=str(tmp_path)
    )
    assert "mine_total 6.0\n" in "".join(foreign.render(openmetrics=False))


@pytest.mark.skipif("dots" not in ESCAPINGS, reason="this prometheus_client has no names in UTF-8")
@pytest.mark.parametrize("escaping", ESCAPINGS)
@pytest.mark.parametrize("openmetrics", [False, True])
def test_names_in_utf_8_are_written_as_the_scraper_asks(escaping: str, *, openmetrics: bool) -> None:
    family = GaugeMetricFamily("http.größe", "A name with more than letters.", labels=["server.port", "plain"])
    for number in range(500):
        family.add_metric([str(number), 'a "b"'], number)
    setting = Setting()
    setting.registry.register(CollectorOf(family))  # type: ignore[arg-type]
    text = "".join(setting.foreign.render(openmetrics=openmetrics, escaping=escaping))
    expected = (client_openmetrics if openmetrics else client_text)(setting.registry, escaping=escaping)
    assert text == expected.decode().removesuffix(OPENMETRICS_END)
    assert ('"http.größe"' in text) == (escaping == "allow-utf-8")
    assert setting.errors == []


def test_a_name_that_cannot_be_printed_does_not_spoil_the_answer(setting: Setting) -> None:
    broken = Metric("broken", "Help.", "gauge")
    broken.add_sample("bro\nken", {"x": "1"}, 1.0)
    labelled = Metric("labelled", "Help.", "gauge")
    labelled.add_sample("labelled", {"an odd\nlabel": "1"}, 1.0)
    setting.registry.register(CollectorOf(broken, labelled, gauge("after")))
    for text in (setting.text(), setting.openmetrics()):
        assert {family.name for family in text_string_to_metric_families(text)} >= {"after"}
        assert "\nken" not in text


class HangingCollector:
    """A collector that returns when it is let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()

    def collect(self) -> Iterator[Metric]:
        self.let_go.wait(30.0)
        yield gauge("at_last")


def test_a_collector_that_hangs_costs_only_itself_until_it_returns(setting: Setting) -> None:
    hanging = HangingCollector()
    for collector in (CollectorOf(gauge("first")), hanging, CollectorOf(gauge("last"))):
        setting.registry.register(collector)
    came: list[str] = []
    thread = threading.Thread(target=lambda: came.extend(setting.foreign.render(openmetrics=False)), daemon=True)
    thread.start()
    while setting.foreign._busy.get(thread) is not hanging:
        time.sleep(0.001)
    setting.foreign.give_up(thread)
    assert [name in setting.text() for name in ("first 1.0", "at_last", "last 1.0")] == [True, False, True]
    assert {type(error) for error in setting.errors} == {TimeoutError}
    hanging.let_go.set()
    thread.join(10.0)
    assert "at_last 1.0\n" in setting.text()


@pytest.fixture
def shared_files(tmp_path: Path) -> Path:
    """The files of a process that counted to three."""
    script = (
        "import prometheus_client as p; p.Counter('mine_total', 'Mine.').inc(3);"
        "p.Gauge('g', 'Mine.', multiprocess_mode='livesum').set(2)"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment)
    return tmp_path


def entry(key: bytes, value: float = 1.0) -> bytes:
    """A file of the client's with one value."""
    padded = key + b" " * (8 - (len(key) + 4) % 8)
    body = struct.pack(f"i{len(padded)}sdd", len(key), padded, value, 0.0)
    return struct.pack("ii", 8 + len(body), 0) + body


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.touch(),
    "torn": lambda path: path.write_bytes(b"\xff\xff\xff\x7f" + b"\0" * 60),
    "cut off": lambda path: path.write_bytes(entry(b'["a", "a", {}, "Help."]')[:30]),
    "not JSON": lambda path: path.write_bytes(entry(b"{]")),
    "other JSON": lambda path: path.write_bytes(entry(b"[1, 2]")),
    "no UTF-8": lambda path: path.write_bytes(entry(b'["a", "\xff", {}, ""]')),
    "folder": lambda path: path.mkdir(),
    "pipe": os.mkfifo,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "dangling": lambda path: path.symlink_to("/nowhere"),
    "huge": lambda path: (path.touch(), os.truncate(path, 2**33)),
}


@pytest.mark.parametrize("bad", BAD_FILES)
def test_a_file_that_cannot_be_read_costs_only_itself(shared_files: Path, bad: str) -> None:
    BAD_FILES[bad](shared_files / "counter_99999.db")
    errors: list[BaseException] = []
    foreign = ForeignMetrics(
        reserved_names=set, on_clash=lambda _: None, on_error=errors.append, multiprocess_dir=str(shared_files)
    )
    text = "".join(foreign.render(openmetrics=False))
    assert "mine_total 3.0\n" in text
    assert "g 2.0\n" in text
    assert [str(error) for error in errors] == ["1 of 3 files"]


def test_a_file_of_no_known_kind_costs_only_itself(shared_files: Path) -> None:
    for name in ("gauge.db", "gauge_all.db", "other_1.db", ".db"):
        (shared_files / name).write_bytes(entry(b'["a", "a", {}, "Help."]'))
    errors: list[BaseException] = []
    foreign = ForeignMetrics(
        reserved_names=set, on_clash=lambda _: None, on_error=errors.append, multiprocess_dir=str(shared_files)
    )
    assert "mine_total 3.0\n" in "".join(foreign.render(openmetrics=False))
    assert [str(error) for error in errors] == ["4 of 6 files"]


def test_a_directory_that_is_gone_is_an_error_until_it_is_there_again(shared_files: Path) -> None:
    errors: list[BaseException] = []
    foreign = ForeignMetrics(
        reserved_names=set, on_clash=lambda _: None, on_error=errors.append, multiprocess_dir=str(shared_files)
    )
    kept = shared_files.rename(shared_files.with_name("kept"))
    assert list(foreign.render(openmetrics=False)) == []
    assert [type(error) for error in errors] == [FileNotFoundError]
    kept.rename(shared_files)
    assert "mine_total 3.0\n" in "".join(foreign.render(openmetrics=False))
