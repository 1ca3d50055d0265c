"""Values as JSON: what fits is kept as it is, the rest is made to fit, and a bad value harms no other."""

from __future__ import annotations

import array
import dataclasses
import enum
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Any
from uuid import UUID

import pydantic
import pytest

from ordinaut_ext_observability.scrub.plain_values import MAX_LINE_BYTES, encode_line, text_of

UUID_TEXT = "12345678-1234-5678-1234-567812345678"
HUGE_INTEGER = 2**70


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: int
    y: int


class Model(pydantic.BaseModel):
    name: str


class ReadOnly(Mapping[str, int]):
    def __getitem__(self, name: str) -> int:
        return {"a": 1}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(["a"])

    def __len__(self) -> int:
        return 1


class BrokenMapping(ReadOnly):
    def __iter__(self) -> Iterator[str]:
        raise LookupError


class BrokenList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise LookupError

    def __len__(self) -> int:
        raise LookupError


class BrokenText:
    def __str__(self) -> str:
        raise LookupError

    __repr__ = __str__


class BrokenError(Exception):
    def __str__(self) -> str:
        raise LookupError


class NoText:
    def __str__(self) -> Any:
        """Forgets to return a text."""


class BrokenClass:
    @property
    def __class__(self) -> Any:
        raise LookupError


class BrokenString(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise LookupError

    def encode(self, *_: Any) -> bytes:
        raise LookupError


class GivesBrokenString:
    def __str__(self) -> str:
        return BrokenString("text")


class BrokenInteger(int):
    def __ge__(self, other: object) -> bool:
        raise LookupError

    def __le__(self, other: object) -> bool:
        raise LookupError


class OwnFloat(float):
    """As numpy's float64 is one."""


class NamelessType(type):
    @property
    def __name__(cls) -> str:
        raise LookupError


class Nameless(metaclass=NamelessType):
    def __str__(self) -> str:
        raise LookupError


def cycle() -> list[Any]:
    around: list[Any] = [1]
    around.append({"again": around})
    return around


def nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"in": value}
    return value


def released() -> memoryview:
    view = memoryview(b"x")
    view.release()
    return view


USUAL = [
    ("text", "text"),
    ("", ""),
    ('a\nb\r"\\\x00\u2028é😀', 'a\nb\r"\\\x00\u2028é😀'),
    (0, 0),
    (-(2**63), -(2**63)),
    (2**63 - 1, 2**63 - 1),
    (1.5, 1.5),
    (True, True),
    (None, None),
    ([1, [2, "x"]], [1, [2, "x"]]),
    ((1, 2), [1, 2]),
    ({"a": {"b": 1}}, {"a": {"b": 1}}),
    ({1}, [1]),
    (frozenset(("a",)), ["a"]),
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    (UUID(UUID_TEXT), UUID_TEXT),
    (date(2026, 11, 24), "2026-11-24"),
    (time(1, 2, 3), "01:02:03"),
    (Decimal("1.10"), "1.10"),
    (PurePosixPath("/a/b"), "/a/b"),
    (ValueError("bad"), "bad"),
    (Model(name="n"), "name='n'"),
    (b"ab\xff\n", "ab\\xff\n"),
    (bytearray(b"ab"), "ab"),
    (memoryview(b"ab"), "ab"),
    (OrderedDict(a=1), {"a": 1}),
    (ReadOnly(), {"a": 1}),
    (deque([1]), "deque([1])"),
    (int, "<class 'int'>"),
]

MADE_PLAIN = [
    (HUGE_INTEGER, "1180591620717411303424"),
    (16**5000, f"0x1{'0' * 1997}…"),
    ("\ud800", "\\ud800"),
    ({"\udcff": "\udcff"}, {"\\udcff": "\\udcff"}),
    ({1: "a", None: "b", (1, 2): "c"}, {"1": "a", "None": "b", "(1, 2)": "c"}),
    (cycle(), [1, {"again": "<cycle>"}]),
    (BrokenText(), "<BrokenText: __str__ raised LookupError>"),
    (BrokenError(), "<BrokenError: __str__ raised LookupError>"),
    (NoText(), "<NoText: __str__ raised TypeError>"),
    (BrokenMapping(), "<BrokenMapping: LookupError>"),
    ([BrokenText(), HUGE_INTEGER], ["<BrokenText: __str__ raised LookupError>", str(HUGE_INTEGER)]),
]


@pytest.mark.parametrize(("value", "expected"), USUAL, ids=lambda value: type(value).__name__)
def test_what_has_a_form_in_json_gets_it(read_line: Callable[[str], Any], value: object, expected: object) -> None:
    assert read_line(encode_line({"value": value})) == {"value": expected}


@pytest.mark.parametrize(("value", "expected"), MADE_PLAIN, ids=lambda value: type(value).__name__)
def test_what_has_none_is_made_plain(read_line: Callable[[str], Any], value: object, expected: object) -> None:
    assert read_line(encode_line({"before": 1, "value": value, "after": "x"})) == {
        "before": 1,
        "value": expected,
        "after": "x",
    }


@pytest.mark.parametrize(("value", "expected"), USUAL, ids=lambda value: type(value).__name__)
def test_a_value_is_there_as_before_beside_one_that_is_made_plain(
    read_line: Callable[[str], Any], value: object, expected: object
) -> None:
    assert read_line(encode_line({"other": HUGE_INTEGER, "value": value}))["value"] == expected


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 24, 20, 40, 0, 123456),
        datetime(2026, 11, 24, 20, 40, tzinfo=UTC),
        Point(1, 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_values_form_does_not_depend_on_its_neighbours(read_line: Callable[[str], Any], value: object) -> None:
    alone = read_line(encode_line({"value": value}))["value"]
    assert read_line(encode_line({"other": HUGE_INTEGER, "value": value}))["value"] == alone


def test_numbers_of_other_libraries_are_kept(read_line: Callable[[str], Any]) -> None:
    assert read_line(encode_line({"value": OwnFloat(1.5), "other": HUGE_INTEGER}))["value"] in (1.5, "1.5")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_kept_from_it(read_line: Callable[[str], Any], number: float) -> None:
    assert read_line(encode_line({"value": number, "after": 1})) == {"value": None, "after": 1}
    assert read_line(encode_line({"value": [number, HUGE_INTEGER]}))["value"] == [str(number), str(HUGE_INTEGER)]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: BrokenClass(), id="broken class"),
        pytest.param(lambda: GivesBrokenString(), id="text that fails"),
        pytest.param(lambda: Nameless(), id="nameless type"),
        pytest.param(released, id="released view"),
        pytest.param(lambda: memoryview(b"a").cast("B", []), id="view without dimensions"),
        pytest.param(lambda: memoryview(b"abcd").cast("B", [2, 2]), id="view of two dimensions"),
        pytest.param(lambda: memoryview(array.array("d", [1.0])), id="view of numbers"),
        pytest.param(lambda: BrokenInteger(5), id="broken integer"),
        pytest.param(lambda: BrokenString("x"), id="broken text"),
        pytest.param(lambda: BrokenList([1]), id="broken list"),
    ],
)
def test_a_hostile_value_harms_no_other_field(read_line: Callable[[str], Any], make: Callable[[], object]) -> None:
    """Beside a usual field, and beside one that has to be made plain."""
    for neighbour in (1, HUGE_INTEGER):
        fields = read_line(encode_line({"before": "kept", "value": make(), "neighbour": neighbour}))
        assert fields["before"] == "kept"
        assert str(fields["neighbour"]) == str(neighbour)


# The encoder reads these without looking for errors; it is run in a process of its own.
CRASHES = {
    "an instant in a time zone without an offset": """
import datetime
class Zone(datetime.tzinfo): pass
value = datetime.datetime(2026, 1, 1, tzinfo=Zone())
""",
    "a member whose value fails": """
import enum
class Broken(enum.Enum):
    A = 1
    @property
    def value(self): raise LookupError
value = Broken.A
""",
    "a dataclass that is not filled in yet": """
import dataclasses
@dataclasses.dataclass(slots=True)
class Late:
    a: int
value = Late.__new__(Late)
""",
    "a list that is emptied meanwhile": """
value = []
class Empties:
    def __str__(self):
        value.clear()
        return "emptied"
value += [Empties(), *([str(number) * number] for number in range(1000))]
""",
    "state that another thread changes meanwhile": """
import decimal, sys, threading, time
sys.setswitchinterval(1e-6)
value, goes_on = {}, True
def change():
    while goes_on:
        for number in range(50):
            value[str(number)] = [decimal.Decimal(number), "x" * number]
        value.clear()
thread = threading.Thread(target=change)
thread.start()
def after():
    global goes_on
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        json.loads(encode_line({"value": value, "after": 1}))
    goes_on = False
    thread.join()
""",
}


@pytest.mark.parametrize("code", CRASHES.values(), ids=CRASHES.keys())
def test_no_value_ends_the_process(run_code: Callable[[str], Any], code: str) -> None:
    child = run_code(f"""
import json
from ordinaut_ext_observability.scrub.plain_values import encode_line
after = lambda: None
{code}
after()
for _ in range(5):
    fields = json.loads(encode_line({{"before": 1, "value": value, "after": 1}}))
    assert fields["before"] == fields["after"] == 1, fields
""")
    assert child.process.returncode == 0, child.err


def test_a_value_that_is_vast_when_written_out_is_cut_at_once(run_code: Callable[[str], Any]) -> None:
    """Lists that hold the next one several times, as the aliases of a YAML file make them."""
    child = run_code("""
import json, resource, signal
signal.alarm(3)  # ends it where it goes on for hours
resource.setrlimit(resource.RLIMIT_AS, (2**31, 2**31))
from ordinaut_ext_observability.scrub.plain_values import encode_line
value = "x"
for _ in range(9):
    value = [value] * 10
fields = json.loads(encode_line({"before": 1, "value": value, "after": 1}))
assert fields["before"] == fields["after"] == 1, fields
""")
    assert child.process.returncode == 0, child.err


def test_a_line_of_the_longest_length_is_kept_as_it_is() -> None:
    text = "x" * (MAX_LINE_BYTES - len('{"text":""}'))
    assert encode_line({"text": text}) == f'{{"text":"{text}"}}'


@pytest.mark.parametrize("character", ["x", "é", "😀", "\x00", '"', "\ud800"])
def test_a_line_too_long_is_cut_in_its_long_texts_only(read_line: Callable[[str], Any], character: str) -> None:
    fields = read_line(encode_line({"text": character * MAX_LINE_BYTES, "short": "kept" * 50}))
    assert fields["short"] == "kept" * 50
    assert fields["text"].endswith("…")
    assert fields["text"][0] == character or character == "\ud800"


def test_wide_and_deep_values_are_cut_and_say_so(read_line: Callable[[str], Any]) -> None:
    fields = read_line(
        encode_line({"list": list(range(10_000)), "dict": dict.fromkeys(map(str, range(10_000))), "deep": nested(300)})
    )
    assert fields["list"][:3] == [0, 1, 2]
    assert fields["list"][-1] == "…"
    assert list(fields["dict"])[-1] == "…"
    assert fields["dict"]["…"] == f"{10_000 - len(fields['dict']) + 1} more"
    assert str(fields["deep"]).count("in") < 10
    assert "<dict>" in str(fields["deep"])


@pytest.mark.parametrize("depth", [10, 253, 254, 255, 1000, 100_000])
def test_any_depth_makes_a_line(read_line: Callable[[str], Any], depth: int) -> None:
    fields = read_line(encode_line({"deep": nested(depth), "after": 1}))
    assert fields["after"] == 1
    assert "in" in fields["deep"]


def test_of_too_many_fields_the_first_are_kept_and_the_others_counted(read_line: Callable[[str], Any]) -> None:
    fields = read_line(encode_line({f"field {number}": "x" * 400 for number in range(200)}))
    left_out = fields.pop("fields_left_out")
    assert list(fields) == [f"field {number}" for number in range(200 - left_out)]
    assert 30 < len(fields) < 60


def test_a_field_that_does_not_fit_takes_no_shorter_one_with_it(read_line: Callable[[str], Any]) -> None:
    big = {f"{number}": ["x" * 300] * 20 for number in range(20)}
    fields = read_line(encode_line({"before": 1, "big": big, "after": "kept"}))
    assert fields["before"] == 1
    assert fields["after"] == "kept"


def test_a_million_items_are_not_walked(read_line: Callable[[str], Any]) -> None:
    """What is cut away is not looked at: here it would raise."""

    def values() -> Iterator[int]:
        yield from range(1000)
        raise AssertionError("walked past the limit")

    class Endless(list[int]):
        def __iter__(self) -> Iterator[int]:
            return values()

    fields = read_line(encode_line({"value": [Endless([1]), HUGE_INTEGER]}))
    assert fields["value"][0][-1] == "…"


def test_text_of_gives_the_text_or_what_was_wrong() -> None:
    assert text_of(5) == "5"
    assert text_of("x") == "x"
    assert text_of(BrokenText()) == "<BrokenText: __str__ raised LookupError>"


def test_a_message_to_stop_the_program_is_passed_on() -> None:
    class Stops:
        def __str__(self) -> str:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        text_of(Stops())
