"""Whatever is logged is one line of JSON, and the ids on it are those of the work that logged it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import enum
import json
import logging
import threading
import uuid
from collections import ChainMap, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import pydantic
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.settings.parts import LogSettings
from ordinaut_ext_observability.correlation.context import (
    WORK_FIELDS,
    RequestContext,
    current_correlation_id,
    current_traceparent,
    request_ids,
    work_ids,
)
from ordinaut_ext_observability.logs.access import AccessLog
from ordinaut_ext_observability.logs.event_types import NAMES_OF_EVERY_LINE, Event
from ordinaut_ext_observability.logs.events import EventLog
from ordinaut_ext_observability.logs.records import JsonFormatter
from ordinaut_ext_observability.scrub.plain_values import MAX_LINE_BYTES, encode_line

OWN_FIELDS = (
    *("timestamp", "level", "logger", "message", "event_type", "module", "function", "line", "process"),
    *("correlation_id", "request_id", "trace_id", "span_id", *WORK_FIELDS, "task_context"),
)
ID = "4bf92f3577b34da6a3ce929d0e0e4736"


# Values


class Colour(enum.Enum):
    RED = "red"
    PAIR = (1, "x")
    HUGE = 2**70
    ITSELF = object()


class Flags(enum.IntFlag):
    A = 1
    B = 2


@dataclasses.dataclass
class Point:
    x: Any
    y: Any = dataclasses.field(default_factory=list)


class Model(pydantic.BaseModel):
    name: str
    inner: Any = None


class Plain:
    pass


def broken(*methods: str, base: type = object) -> Any:
    """An object of a class that raises in these methods."""

    def fail(*_: Any, **__: Any) -> Any:
        raise LookupError("broken")

    return type("Broken", (base,), {f"__{method}__": fail for method in methods})()


def cycle() -> Any:
    around: dict[str, Any] = {}
    around["list"] = [around, (around,)]
    return around


def nested(depth: int) -> Any:
    value: Any = "deep"
    for number in range(depth):
        value = [value] if number % 2 else {"in": value}
    return value


ODD_VALUES: dict[str, Callable[[], Any]] = {
    "object": object,
    "class": lambda: Plain,
    "function": lambda: nested,
    "generator": lambda: (number for number in range(3)),
    "iterator without end": lambda: iter(int, 1),
    "module": lambda: json,
    "lock": threading.Lock,
    "ellipsis": lambda: ...,
    "broken text": lambda: broken("str", "repr"),
    "broken comparing": lambda: broken("eq", "hash", "ne", "bool"),
    "broken length": lambda: broken("len", "iter", "getitem", "contains"),
    "broken list": lambda: broken("iter", "len", "getitem", "str", "repr", base=list),
    "broken dict": lambda: broken("iter", "len", "getitem", "str", "repr", base=dict),
    "broken tuple": lambda: broken("iter", "len", base=tuple),
    "broken string": lambda: broken("str", "repr", "len", "eq", "hash", base=str),
    "broken attributes": lambda: broken("getattr"),
    "broken exception": lambda: broken("str", "repr", base=Exception),
    "broken mapping": lambda: ChainMap(broken("iter", "len", "getitem", base=dict)),
    "broken inside": lambda: {"a": [broken("str", "repr")]},
    "exception": lambda: ValueError("bad", b"\xff"),
    "group": lambda: ExceptionGroup("many", [ValueError("one")]),
    "cycle": cycle,
    "deep": lambda: nested(300),
    "very deep": lambda: nested(20_000),
    "wide": lambda: list(range(5000)),
    "many names": lambda: {f"name {number}": number for number in range(2000)},
    "big in big": lambda: [["x" * 500] * 50] * 50,
    "long": lambda: "é" * 20_000,
    "long to escape": lambda: "\x00" * 20_000,
    "long bytes": lambda: b"\xff" * 20_000,
    "long name": lambda: {"x" * 20_000: 1},
    "surrogate": lambda: "\ud800",
    "surrogate names": lambda: dict.fromkeys(("\ud800", "\udfff"), 1),
    "names of every kind": lambda: {1: 1, None: 2, b"b": 3, (1,): 4, 1.5: 5, Colour.RED: 7},
    "huge integer": lambda: 2**64,
    "huger integer": lambda: -(10**5000),
    "nan": lambda: float("nan"),
    "infinities": lambda: [float("inf"), float("-inf")],
    "decimal": lambda: Decimal("NaN"),
    "fraction": lambda: Fraction(1, 3),
    "complex": lambda: 1j,
    "members": lambda: list(Colour),
    "flags": lambda: Flags.A | Flags.B,
    "uuid": lambda: uuid.UUID(int=1),
    "instants": lambda: [datetime(1, 1, 1), datetime(9999, 12, 31, tzinfo=UTC), date(1, 1, 1), time(0)],
    "zones": lambda: datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=23, seconds=59))),
    "time with a zone": lambda: time(1, tzinfo=UTC),
    "duration": lambda: timedelta(days=-1),
    "dataclass": lambda: Point(1, Point(2**70, b"x")),
    "model": lambda: Model(name="\ud800".encode("utf-8", "replace").decode(), inner={"a": 1}),
    "bytes": lambda: b"\x00\xff\n",
    "array of bytes": lambda: bytearray(b"x"),
    "view": lambda: memoryview(b"abc"),
    "sets": lambda: [{1, "a"}, frozenset(), {(1, 2)}],
    "ordered": lambda: OrderedDict(a=deque([1])),
    "path": lambda: PurePosixPath("/a"),
    "range": lambda: range(10**9),
}


@dataclasses.dataclass(frozen=True)
class Odd:
    """One of `ODD_VALUES`; made only within the test, since hypothesis itself would look at it."""

    name: str


def made(value: Any) -> Any:
    """The value with what stands for an odd one replaced by that."""
    if isinstance(value, Odd):
        return ODD_VALUES[value.name]()
    if isinstance(value, Point):
        return Point(made(value.x), made(value.y))
    if isinstance(value, dict):
        return {name: made(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(made(inner) for inner in value)
    return value


texts = st.one_of(
    st.text(st.characters(), max_size=30),
    st.sampled_from(
        ["", "\n", "\r\n", "\x00", "\u2028\x85\x0b", "%s", "%d %(a)s", "{}", '","level":"forged"}\n{"', "\\"]
    ),
    st.sampled_from(["x" * 3000, "é" * 9000, "\x00" * 3000, '"' * 17_000]),
)
numbers = st.one_of(st.integers(), st.floats(), st.integers(-(2**80), 2**80), st.decimals(), st.booleans(), st.none())
odd = st.sampled_from(sorted(ODD_VALUES)).map(Odd)
leaves = st.one_of(texts, numbers, odd, st.binary(max_size=20), st.datetimes(), st.uuids())
values = st.one_of(
    odd,
    st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.tuples(inner, inner),
            st.dictionaries(st.one_of(texts, st.integers(), st.binary(max_size=3), st.none()), inner, max_size=4),
            st.builds(Point, inner),
        ),
        max_leaves=8,
    ),
)
names = st.one_of(
    texts, st.sampled_from([*OWN_FIELDS, "level_", "exception", "exception_type", "extra", "fields_left_out"])
)
record_names = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
extras = st.dictionaries(st.one_of(names, st.integers(), st.none()), values, max_size=5).map(
    lambda extra: {name: value for name, value in extra.items() if name not in record_names}
)
arguments = st.one_of(st.just(()), st.lists(values, max_size=3).map(tuple), st.dictionaries(texts, values, max_size=2))
exception_infos = st.one_of(
    st.none(),
    st.just((None, None, None)),
    st.sampled_from(["broken exception", "exception", "group"]).map(Odd),
    st.tuples(st.just(ValueError), values, st.none()),
    st.sampled_from([True, False, 5, "text", ()]),
)


# Lines


def fields_of(line: str) -> dict[str, Any]:
    """The fields of one line, which must be one whole JSON object, no longer than allowed and no name twice."""
    assert not {"\n", "\r"} & set(line)
    assert len(line.encode()) <= MAX_LINE_BYTES

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    def no_constant(name: str) -> Any:
        raise AssertionError(name)

    fields = json.loads(line, object_pairs_hook=once, parse_constant=no_constant)
    assert isinstance(fields, dict)
    return fields


class Lines:
    """Takes the lines of a log as its writer would."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str, *, urgent: bool = False) -> None:
        self.lines.append(line)


def assert_in_order(fields: Mapping[str, Any]) -> None:
    """Our own names stand first, in the documented order."""
    own = [name for name in fields if name in OWN_FIELDS]
    # Outside a request or task an extra may have the name of an id: it then stands among the extras.
    fixed = [name for name in own if name in OWN_FIELDS[:4]]
    assert list(fields)[:4] == fixed == list(OWN_FIELDS[:4])


@given(st.dictionaries(st.one_of(names, st.integers(), st.none()), values, max_size=6))
def test_any_fields_are_one_line(line: dict[Any, Any]) -> None:
    line = made(line)
    fields = fields_of(encode_line(line))
    assert len(fields) <= len(line) + 1
    if all(isinstance(name, str) and name.isascii() and len(name) <= 300 for name in line):
        left_out = fields.get("fields_left_out", 0)
        assert set(line) - {"fields_left_out"} <= fields.keys() or left_out


@given(values)
def test_a_value_leaves_its_neighbours_as_they_are(value: Any) -> None:
    fields = fields_of(encode_line({"before": "kept", "value": made(value)}))
    assert fields["before"] == "kept"
    assert "value" in fields or fields == {"before": "kept", "fields_left_out": 1}


@settings(max_examples=300)
@given(st.one_of(texts, values), arguments, extras, exception_infos, st.booleans())
@example("%s", (Odd("broken text"),), {}, None, False)
@example("%(a)s", {}, {}, None, True)
def test_any_record_is_one_line(
    message: Any, arguments: Any, extra: dict[Any, Any], exc_info: Any, in_task: bool
) -> None:
    record = logging.LogRecord("app", logging.INFO, "/app/a.py", 1, "", (), None, "work")
    record.msg, record.args, record.exc_info = made((message, arguments, exc_info))
    if isinstance(record.exc_info, Exception):
        record.exc_info = (type(record.exc_info), record.exc_info, None)
    vars(record).update(made(extra))
    with RequestContext("t", "a") if in_task else contextlib.nullcontext():
        line = JsonFormatter().format(record)
    fields = fields_of(line)
    assert_in_order(fields)
    assert isinstance(fields["message"], str)
    assert (fields["level"], fields["logger"], fields.get("line", 1)) == ("INFO", "app", 1)
    if in_task and "fields_left_out" not in fields:
        assert fields["task_context"] == {"task_id": "t", "agent_id": "a", "request_id": fields["request_id"]}


@given(extras)
def test_every_extra_of_a_record_is_on_its_line(extra: dict[Any, Any]) -> None:
    extra = {
        name: value for name, value in extra.items() if isinstance(name, str) and name.isascii() and len(name) <= 300
    }
    extra.pop("color_message", None)
    record = logging.makeLogRecord({"msg": "m", **made(extra)})
    fields = fields_of(JsonFormatter().format(record))
    if "fields_left_out" not in fields:
        for name in extra:
            taken = name in OWN_FIELDS[:4] or name in ("function", "line")
            assert (f"{name}_" if taken else name) in fields
        suffixed = sum(name not in record_names and name != "event_type" for name in extra) + ("event_type" in extra)
        assert len(fields) == 8 + suffixed


@given(
    texts,
    texts,
    st.dictionaries(
        names.filter(lambda name: name not in (*WORK_FIELDS, *NAMES_OF_EVERY_LINE) and len(name) < 300),
        st.one_of(
            odd.filter(lambda value: value.name not in ("broken comparing", "broken string")),
            st.recursive(
                texts.filter(lambda text: len(text) < 100) | numbers,
                lambda inner: st.lists(inner, max_size=3),
                max_leaves=4,
            ),
        ),
        max_size=4,
    ),
    st.booleans(),
)
def test_any_event_is_parseable_and_whole(message: str, event_type: str, own: dict[str, Any], in_task: bool) -> None:
    """Its length, and values that cannot be compared, are other tests': tests/unit/logs/test_events.py."""
    lines, own = Lines(), made(own)
    with RequestContext("t", "a") if in_task else contextlib.nullcontext():
        EventLog(lines, "app").emit(Event(event_type, "INFO", message), **own)  # type: ignore[arg-type]
    (line,) = lines.lines
    assert not {"\n", "\r"} & set(line)
    assert line.encode()
    fields = json.loads(line)
    assert_in_order(fields)
    if "fields_left_out" not in fields:
        for name, value in own.items():
            if name.isascii() and name not in OWN_FIELDS:
                assert (name in fields) == (value is not None)


@given(texts, st.dictionaries(st.sampled_from("abcdef"), texts | numbers, max_size=6))
def test_short_events_keep_what_they_are_given(message: str, own: dict[str, Any]) -> None:
    lines = Lines()
    own = {name: value for name, value in own.items() if isinstance(value, (str, bool, int)) and len(str(value)) < 500}
    EventLog(lines, "app").emit(Event("e", "INFO", message), **own)  # type: ignore[arg-type]
    fields = json.loads(lines.lines[0])
    for name, value in own.items():
        if isinstance(value, str):
            assert fields[name] == value.encode("utf-8", "backslashreplace").decode()
        else:
            assert fields[name] in (value, str(value))


@given(texts.filter(lambda text: len(text) < 300), texts.filter(lambda text: len(text) < 300), st.integers(100, 599))
def test_any_access_line_is_one_line(method: str, path: str, status_code: int) -> None:
    lines = Lines()
    access = AccessLog(lines, LogSettings())  # type: ignore[arg-type]
    access.emit("INFO", access.layout(method, path, status_code), 1.5, 0.5, (ID, ID, ID[:16], True), "")
    assert lines.lines[0].endswith("\n")  # it holds nothing to look for
    fields = fields_of(lines.lines[0][:-1])
    assert list(fields)[-4:] == ["method", "path", "status_code", "duration_ms"]
    assert fields["status_code"] == status_code


# Contexts


def now() -> tuple[str | None, dict[str, str]]:
    return current_correlation_id(), dict(work_ids.get())


def everything() -> tuple[Any, ...]:
    return request_ids.get(), dict(work_ids.get()), current_traceparent()


ids = st.from_regex(r"[A-Za-z0-9._-]{1,12}", fullmatch=True)
layers = st.lists(
    st.one_of(
        st.tuples(
            st.just("context"), st.none() | ids, st.dictionaries(st.sampled_from(WORK_FIELDS), ids | st.just(""))
        ),
        st.tuples(st.just("request"), ids, st.just({})),
    ),
    max_size=8,
)


@contextlib.contextmanager
def entered(kind: str, correlation_id: str | None, work: dict[str, Any]) -> Iterator[None]:
    if kind == "context":
        with RequestContext(correlation_id=correlation_id, **work):
            yield
    else:
        token = request_ids.set((str(correlation_id), ID, ID[:16], True))
        yield
        request_ids.reset(token)


@given(layers)
def test_contexts_follow_a_model_of_nesting(steps: list[Any]) -> None:
    """What is seen within is what was last given for each id; each level is seen again when the inner one has ended."""
    with contextlib.ExitStack() as outermost:
        seen, models = [everything()], [(None, {})]
        levels = []
        for kind, correlation_id, work in steps:
            levels.append(outermost.enter_context(contextlib.ExitStack()))
            levels[-1].enter_context(entered(kind, correlation_id, work))
            model_id, model_work = models[-1]
            models.append((correlation_id or model_id, {**model_work, **{k: v for k, v in work.items() if v}}))
            seen.append(everything())
            given_id, given_work = now()
            assert given_work == models[-1][1]
            if models[-1][0] is not None:
                assert given_id == models[-1][0]
            elif kind == "context":
                models[-1] = (given_id, given_work)
        for level in reversed(levels):
            assert everything() == seen.pop()
            level.close()
        assert everything() == seen.pop() == (None, {}, None)


@given(
    layers, st.integers(0, 8), st.sampled_from([ValueError, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt])
)
def test_contexts_are_restored_however_far_an_error_goes(
    steps: list[Any], caught_at: int, error: type[BaseException]
) -> None:
    def descend(level: int) -> None:
        if level == len(steps):
            raise error
        kind, correlation_id, work = steps[level]
        if kind == "request":
            kind, work = "context", {}
        before = everything()
        try:
            with entered(kind, correlation_id, work):
                descend(level + 1)
        except error:
            assert everything() == before
            if level > caught_at:
                raise

    with contextlib.suppress(error):
        descend(0)
    assert everything() == (None, {}, None)


def line_ids(formatter: JsonFormatter) -> tuple[Any, ...]:
    """The ids a line logged now has, by record and by event."""
    lines = Lines()
    EventLog(lines, "app").emit(Event("e", "INFO", "m"))  # type: ignore[arg-type]
    by_event = json.loads(lines.lines[0])
    by_record = json.loads(formatter.format(logging.makeLogRecord({"msg": "m"})))
    both = [(line.get("correlation_id"), line.get("trace_id"), line.get("task_id")) for line in (by_event, by_record)]
    assert both[0] == both[1]
    return both[0]


def test_a_thousand_tasks_at_once_never_see_each_others_ids() -> None:
    """Each binds, yields to the others at every step, logs, and some are cancelled or fail on the way."""
    formatter = JsonFormatter()
    ended: list[tuple[int, Any]] = []

    async def values_of(number: int) -> AsyncIterator[int]:
        with RequestContext(step_id=f"s{number}"):
            for step in range(3):
                yield step

    async def work(number: int) -> str:
        mine = (f"c{number}", {"task_id": f"t{number}"})
        try:
            assert now() == ("outer", {"agent_id": "a"})
            with RequestContext(f"t{number}", correlation_id=f"c{number}"):
                await asyncio.sleep(0)
                assert now() == (mine[0], {"agent_id": "a", **mine[1]})
                with RequestContext(run_id=f"r{number}"):
                    await asyncio.sleep(0)
                    assert line_ids(formatter)[::2] == (f"c{number}", f"t{number}")
                    if number % 5 == 0:
                        await asyncio.sleep(60)
                    if number % 7 == 0:
                        raise LookupError
                    async for _ in values_of(number):
                        await asyncio.sleep(0)
                        assert now()[1]["step_id"] == f"s{number}"
                        assert now()[1]["run_id"] == f"r{number}"
                    child = await asyncio.create_task(inner(number))
                    assert child == (f"c{number}", f"child {number}")
                assert now() == (mine[0], {"agent_id": "a", **mine[1]})
            return "done"
        finally:
            ended.append((number, now()))

    async def inner(number: int) -> tuple[Any, Any]:
        with RequestContext(f"child {number}"):
            await asyncio.sleep(0)
            return now()[0], now()[1]["task_id"]

    async def main() -> list[Any]:
        with RequestContext(agent_id="a", correlation_id="outer"):
            tasks = [asyncio.create_task(work(number)) for number in range(1000)]
            for _ in range(4):
                await asyncio.sleep(0)
            for task in tasks[::5]:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert now() == ("outer", {"agent_id": "a"})
        assert now() == (None, {})
        return results

    results = asyncio.run(main())
    assert sorted(number for number, _ in ended) == list(range(1000))
    assert {str(state) for _, state in ended} == {str(("outer", {"agent_id": "a"}))}
    for number, result in enumerate(results):
        expected = asyncio.CancelledError if number % 5 == 0 else LookupError if number % 7 == 0 else str
        assert isinstance(result, expected), (number, result)


def test_a_thousand_tasks_have_ids_of_their_own() -> None:
    async def work() -> tuple[Any, ...]:
        with RequestContext():
            await asyncio.sleep(0)
            return request_ids.get() or ()

    async def main() -> list[tuple[Any, ...]]:
        return await asyncio.gather(*(work() for _ in range(1000)))

    made = asyncio.run(main())
    assert len({correlation_id for correlation_id, *_ in made}) == 1000
    assert len({span_id for _, _, span_id, _ in made}) == 1000
    assert all(correlation_id == trace_id for correlation_id, trace_id, *_ in made)


def test_threads_never_see_each_others_ids() -> None:
    formatter = JsonFormatter()
    failures: list[BaseException] = []
    start = threading.Barrier(16)

    def work(number: int) -> None:
        try:
            start.wait(10)
            assert now() == (None, {})
            for turn in range(40):
                with RequestContext(f"t{number}", correlation_id=f"c{number}.{turn}"):
                    assert line_ids(formatter)[::2] == (f"c{number}.{turn}", f"t{number}")
                    with RequestContext(f"inner {number}"):
                        assert now() == (f"c{number}.{turn}", {"task_id": f"inner {number}"})
                    assert asyncio.run(asyncio.to_thread(now)) == now() if turn == 0 else True
                assert now() == (None, {})
        except BaseException as error:
            failures.append(error)

    with RequestContext("main", correlation_id="main"):
        threads = [threading.Thread(target=contextvars.Context().run, args=(work, number)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert now() == ("main", {"task_id": "main"})
    assert failures == []


@given(st.lists(st.sampled_from(["next a", "next b", "close a", "close b", "task"]), max_size=12))
def test_generators_in_tasks_of_their_own_leave_the_others_alone(steps: list[str]) -> None:
    """Two generators in one context interleave as the language has it; each in its own context sees only its own."""

    def generator(name: str) -> Iterator[Any]:
        with RequestContext(f"t {name}", correlation_id=f"c-{name}"):
            for _ in range(4):
                yield now()

    running = {name: (contextvars.Context(), generator(name)) for name in "ab"}
    for step in steps:
        if step == "task":
            assert asyncio.run(asyncio.to_thread(now)) == (None, {})
            continue
        what, name = step.split()
        context, values_made = running[name]
        if what == "close":
            context.run(values_made.close)
            assert context.run(now) == (None, {})
        else:
            seen = context.run(next, values_made, None)
            assert seen in (None, (f"c-{name}", {"task_id": f"t {name}"}))
        assert now() == (None, {})
    for context, values_made in running.values():
        context.run(values_made.close)
        assert context.run(now) == (None, {})


@given(
    st.one_of(texts, st.uuids(), st.binary(max_size=10), st.integers()).filter(lambda value: str(value).isprintable())
)
def test_whatever_is_given_as_an_id_may_stand_in_a_line(value: Any) -> None:
    with RequestContext(correlation_id=value) as context:
        assert json.dumps(context.correlation_id) == f'"{context.correlation_id}"'
        assert 1 <= len(context.correlation_id) <= 128
        lines = Lines()
        EventLog(lines, "app").emit(Event("e", "INFO", "m"))  # type: ignore[arg-type]
        assert json.loads(lines.lines[0])["correlation_id"] == context.correlation_id
