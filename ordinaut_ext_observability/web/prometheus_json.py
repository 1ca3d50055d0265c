"""JSON as Prometheus's HTTP API writes it: numbers as texts, times in seconds, a label set as an object."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast

import orjson

from ordinaut_ext_observability.history.series import Labels, Series
from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.times import format_value

if TYPE_CHECKING:
    from ordinaut_ext_observability.promql.query import Answer, Sample

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Longest answer: an hour of 5,000 series takes 22 MB, and no panel of a dashboard can draw a tenth of that."""

_PIECE_BYTES = 32 * 1024
"""Size from which on a piece is sent by itself: few enough pieces, each written in a fraction of a millisecond."""
_POINTS_AT_ONCE = 200

ItemT = TypeVar("ItemT")


def format_exponent(value: float) -> str:
    """The shortest decimal that is this number, with an exponent, as Prometheus writes values of alerts: `1.5e+01`."""
    if not isfinite(value):
        return format_value(value)
    return f"{value:.{len(Decimal(repr(value)).normalize().as_tuple().digits) - 1}e}"


def format_time(time_ms: int | None) -> str:
    """An instant as in RFC 3339; the year 1 for never, as Prometheus has it."""
    return timestamp(time_ms / 1000) if time_ms is not None else "0001-01-01T00:00:00Z"


def render_answer(answer: Answer, at_ms: int) -> Iterator[bytes]:
    """The field `data` of a query at this time, in short parts. The answer is used up."""
    yield f'{{"resultType":"{answer.type}","result":'.encode()
    if answer.type == "matrix":
        yield from render_list(cast("list[Series]", answer.value), _series)
    elif isinstance(answer.value, list):
        at = _seconds(at_ms)
        yield from render_list(
            cast("list[Sample]", answer.value),
            lambda one: [orjson.dumps({"metric": dict(one.labels), "value": [at, format_value(one.value)]})],
        )
    else:
        text = answer.value if isinstance(answer.value, str) else format_value(answer.value, exponents=False)
        yield orjson.dumps([_seconds(at_ms), text])
    yield b"}"


def render_labels(items: list[str | Labels]) -> Iterator[bytes]:
    """A list of texts, or of label sets as objects, in short parts. The list is used up."""
    return render_list(items, lambda item: [orjson.dumps(item if isinstance(item, str) else dict(item))])


def render_list(items: list[ItemT], parts: Callable[[ItemT], Iterable[bytes]]) -> Iterator[bytes]:
    """A list, each item of these parts. It is used up: to let go of all items at once could take milliseconds."""
    items.reverse()
    before = b"["
    while items:
        yield before
        yield from parts(items.pop())
        before = b","
    yield b"]" if before == b"," else b"[]"


def render(value: Any) -> Iterator[bytes]:
    """Any value in short parts: an iterator in an object becomes a list, item by item."""
    if isinstance(value, Iterator):
        yield b"["
        for number, item in enumerate(value):
            yield b"," if number else b""
            yield from render(item)
        yield b"]"
    elif isinstance(value, dict) and any(isinstance(each, Iterator) for each in value.values()):
        for number, (name, each) in enumerate(value.items()):
            yield (b"," if number else b"{") + orjson.dumps(name) + b":"
            yield from render(each)
        yield b"}"
    else:
        yield orjson.dumps(value)


def _series(series: Series) -> Iterator[bytes]:
    yield b'{"metric":' + orjson.dumps(dict(series.labels)) + b',"values":'

    def points(start: int) -> Iterator[bytes]:
        some = slice(start, start + _POINTS_AT_ONCE)
        pairs = zip(series.timestamps[some], series.values[some], strict=True)
        yield orjson.dumps([(_seconds(at), format_value(value)) for at, value in pairs])[1:-1]

    yield from render_list(list(range(0, len(series.values), _POINTS_AT_ONCE)), points)
    yield b"}"


def _seconds(milliseconds: int) -> float:
    return milliseconds / 1000 if milliseconds % 1000 else milliseconds // 1000


def render_success(data: Iterable[bytes], **remarks: Sequence[str]) -> Iterator[bytes | None]:
    """The whole answer around the parts of its field `data`: pieces to send, and None where there is none yet.

    `remarks` are lists of texts, left out where empty. Raises ExecutionError where all of it would be longer than
    `MAX_ANSWER_BYTES`.
    """
    piece, sent = bytearray(b'{"status":"success","data":'), 0
    for part in data:
        piece += part
        if sent + len(piece) > MAX_ANSWER_BYTES:
            megabytes = MAX_ANSWER_BYTES // 1024**2
            raise ExecutionError(f"the answer is larger than {megabytes} MB: ask for fewer series, or a longer step")
        if len(piece) < _PIECE_BYTES:
            yield None
        else:
            yield bytes(piece)
            sent += len(piece)
            piece.clear()
    said = {name: texts for name, texts in remarks.items() if texts}
    yield bytes(piece) + (b"," + orjson.dumps(said)[1:] if said else b"}")


def render_error(error_type: str, message: str) -> bytes:
    """The answer to a query that failed."""
    return orjson.dumps({"status": "error", "errorType": error_type, "error": message})
