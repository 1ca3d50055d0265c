"""Groups of errors: counted once, bounded, cheap in a storm, resolved and open again, exchanged with other processes."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ordinaut_ext_observability.logs.records import JsonHandler
from ordinaut_ext_observability.metrics.declarations import Metrics
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.trouble.recent import (
    ERRORS_PER_SECOND,
    MAX_GROUPS,
    PER_ROUTE,
    ROUTES,
    ErrorGroups,
    Group,
    RecentTrouble,
    is_open,
)
from tests.clock import ManualClock


class Faulty(Exception):
    """Can be referred to weakly, unlike those that are built in."""


class Document:
    """A document that several processes exchange."""

    def __init__(self) -> None:
        self.content = b""
        self.writes = 0
        self.takes = True

    def write(self, content: bytes) -> bool:
        if self.takes:
            self.content, self.writes = content, self.writes + 1
        return self.takes


class Made:
    """A process's groups, with a clock of their own or another's."""

    def __init__(self, clock: ManualClock | None = None) -> None:
        self.clock = clock or ManualClock()
        self.metrics = Metrics(Registry())
        self.events: list[dict[str, Any]] = []
        self.errors = ErrorGroups("1.0", self.metrics, self.clock, lambda _event, **fields: self.events.append(fields))

    def outcomes(self) -> dict[str, float]:
        return {child.label_values[0]: child.value for child in self.metrics.errors_seen.children()}

    def exchange(self, document: Document) -> None:
        self.errors.exchange(document.content, document.write)

    def groups(self) -> dict[str, Group]:
        return self.errors.known()[0]

    def group(self) -> tuple[str, Group]:
        (item,) = self.groups().items()
        return item

    def fail(self, kind: str = "Faulty", times: int = 1) -> None:
        """Errors of this type, a second after what was before."""
        self.clock.advance(1.0)
        for _ in range(times):
            self.errors.note(type(kind, (Exception,), {})(), "/work")


def raised() -> Faulty:
    try:
        raise Faulty
    except Faulty as error:
        return error


@pytest.fixture
def made() -> Made:
    return Made()


@pytest.fixture
def logger(made: Made, make_log_lines: Callable[[], Any]) -> Iterator[logging.Logger]:
    handler = JsonHandler(make_log_lines().writer)
    handler.note_error = made.errors.note
    logger = logging.getLogger("tests.trouble")
    logger.addHandler(handler)
    logger.propagate = False
    yield logger
    logger.removeHandler(handler)


def test_an_error_that_is_logged_and_raised_again_counts_once(made: Made, logger: logging.Logger) -> None:
    def work() -> None:
        try:
            raise Faulty
        except Faulty:
            logger.exception("inside")
            raise

    def handle() -> None:
        try:
            work()
        except Faulty:
            logger.exception("outside")
            raise

    for _ in range(3):  # each may get the identity of the one before
        with pytest.raises(Faulty) as caught:
            handle()
        made.errors.note(caught.value, "/work")
        del caught
    group = made.group()[1]
    assert (group["count"], group["where"]) == (3, "tests.trouble")
    assert made.outcomes() == {"grouped": 3, "counted_before": 6}


def test_an_error_raised_from_one_that_was_logged_is_the_same_failure(made: Made, logger: logging.Logger) -> None:
    with pytest.raises(RuntimeError) as caught:
        try:
            raise Faulty
        except Faulty as error:
            logger.exception("inside")
            raise RuntimeError from error
    made.errors.note(caught.value, "/work")
    assert made.outcomes() == {"grouped": 1, "counted_before": 1}
    assert made.group()[1]["exception_type"].endswith("Faulty")


def test_only_errors_logged_with_an_exception_count(made: Made, logger: logging.Logger) -> None:
    logger.warning("a warning", exc_info=raised())
    logger.error("no exception")
    logger.exception("none either")  # noqa: LOG004 - as hosts do
    made.errors.note(KeyboardInterrupt(), "/work")
    made.errors.note(None, "/work")
    assert not made.groups()


def test_no_error_lives_longer_because_it_was_counted(made: Made) -> None:
    error = raised()
    alive = weakref.ref(error)
    made.errors.note(error, "/work")
    del error
    gc.collect()
    assert alive() is None
    assert made.group()[1]["count"] == 1


def test_a_storm_is_counted_but_for_the_first_not_looked_at(made: Made) -> None:
    error = raised()
    for _ in range(10_000):
        made.errors.note(error, "/work")
    assert made.outcomes() == {"grouped": ERRORS_PER_SECOND, "not_looked_at": 10_000 - ERRORS_PER_SECOND}
    made.clock.advance(1.0)
    made.errors.note(error, "/work")
    assert made.group()[1]["count"] == ERRORS_PER_SECOND + 1


def test_groups_are_bounded_and_the_oldest_resolved_one_goes_first(made: Made) -> None:
    for number in range(MAX_GROUPS):
        made.fail(f"Error{number}")
    names = list(made.groups())
    for name in (names[7], names[5]):
        made.clock.advance(1.0)
        made.errors.resolve(name)
    for number in range(3):
        made.fail(f"More{number}")
    assert len(made.groups()) == MAX_GROUPS
    assert {names[7], names[5], names[0]}.isdisjoint(made.groups())
    assert names[1] in made.groups()


def test_a_resolved_group_is_open_again_when_it_is_seen_again(made: Made) -> None:
    made.fail(times=2)
    name, group = made.group()
    made.clock.advance(1.0)
    made.errors.resolve(name)
    made.errors.resolve(name)
    made.errors.resolve("unknown")
    assert made.events == [{"fingerprint": name, "exception_type": group["exception_type"]}]
    assert not is_open(made.group()[1])
    assert made.errors.newest_group() is None
    made.fail(times=3)
    again = made.group()[1]
    assert is_open(again)
    assert (again["count"], again["reopenings"], again["first_seen"]) == (5, 1, group["first_seen"])
    assert again["reopened_at"] == again["last_seen"] > again["resolved_at"]


def test_the_newest_group_is_the_one_that_began_or_was_reopened_last(made: Made) -> None:
    made.fail("First")
    first = made.group()[0]
    made.fail("Second")
    made.fail("First")
    newest = made.errors.newest_group()
    assert newest is not None
    assert newest[0] != first
    made.clock.advance(1.0)
    made.errors.resolve(first)
    made.fail("First")
    assert made.errors.newest_group() == (first, made.groups()[first])


def test_processes_add_up_through_their_document(made: Made) -> None:
    other, document = Made(made.clock), Document()
    assert made.errors.known()[1] is None
    made.fail(times=3)
    other.fail(times=4)
    for process in (made, other, made, made):
        process.exchange(document)
    assert document.writes == 2  # what says nothing new is not written
    assert made.groups() == other.groups()
    assert made.group()[1]["count"] == 7
    made.clock.advance(1.5)
    assert made.errors.known()[1] == 1.5

    other.errors.resolve(other.group()[0])
    other.exchange(document)
    assert is_open(made.group()[1])  # as of the last exchange
    made.exchange(document)
    assert not is_open(made.group()[1])
    made.fail()
    assert (made.group()[1]["count"], made.group()[1]["reopenings"]) == (8, 1)


@pytest.mark.parametrize("damaged", [b"not JSON", b"[]"])
def test_a_damaged_document_is_written_anew(made: Made, damaged: bytes) -> None:
    document = Document()
    document.content = damaged
    made.exchange(document)
    assert made.groups() == {}
    made.fail()
    made.exchange(document)
    assert made.group()[1]["count"] == 1
    other = Made(made.clock)
    other.exchange(document)
    assert other.groups() == made.groups()


def test_what_was_seen_before_it_was_resolved_elsewhere_opens_nothing(made: Made) -> None:
    other, document = Made(made.clock), Document()
    other.fail()
    other.exchange(document)
    made.fail()
    made.clock.advance(1.0)
    other.errors.resolve(other.group()[0])
    other.exchange(document)
    made.exchange(document)
    assert (made.group()[1]["count"], is_open(made.group()[1]), made.group()[1]["reopenings"]) == (2, False, 0)


def test_what_the_store_does_not_take_is_sent_the_next_time(made: Made) -> None:
    document = Document()
    made.fail()
    document.takes = False
    made.exchange(document)
    made.fail()
    with pytest.raises(TimeoutError):
        made.errors.exchange(b"", raise_timeout)
    assert made.group()[1]["count"] == 2
    document.takes = True
    made.exchange(document)
    made.exchange(document)
    assert (made.group()[1]["count"], document.writes) == (2, 1)


def raise_timeout(_content: bytes) -> bool:
    raise TimeoutError


def test_a_document_is_bounded_whatever_the_texts_are(made: Made) -> None:
    document = Document()
    for number in range(MAX_GROUPS):
        made.fail(f"Error{number}" + "ä" * 1000)
    made.exchange(document)
    assert len(document.content) < 300_000


def test_a_forked_child_begins_with_nothing(made: Made, in_forked_child: Callable[..., bytes]) -> None:
    made.fail()
    assert in_forked_child(lambda: str(len(made.groups())).encode()) == b"0"
    assert len(made.groups()) == 1


def test_a_forked_child_remembers_no_requests(made: Made, in_forked_child: Callable[..., bytes]) -> None:
    recent = RecentTrouble(made.errors, 1.0)
    recent.add_request("/work", {})
    assert in_forked_child(lambda: str(len(recent.requests())).encode()) == b"0"
    assert len(recent.requests()) == 1


def test_an_odd_exception_is_an_internal_error_at_most(made: Made) -> None:
    class Meta(type):
        @property
        def __module__(cls) -> str:  # type: ignore[override]
            raise RuntimeError

    made.errors.note(Meta("Odd", (Exception,), {})(), "/work")
    assert [child.label_values for child in made.metrics.internal_errors.children()] == [("trouble",)]


def test_requests_are_remembered_of_so_many_routes_and_so_many_of_each(made: Made) -> None:
    recent = RecentTrouble(made.errors, 1.0)
    for number in range(10 * PER_ROUTE):
        recent.add_request("/busy", {"number": number})
    for number in range(ROUTES - 1):
        recent.add_request(f"/{number}", {})
    assert [each["number"] for each in recent.requests() if each["route"] == "/busy"] == [*range(90, 100)]
    recent.add_request("/busy", {})
    recent.add_request("/new", {})
    routes = {each["route"] for each in recent.requests()}
    assert len(routes) == ROUTES
    assert "/0" not in routes
    assert "/busy" in routes
