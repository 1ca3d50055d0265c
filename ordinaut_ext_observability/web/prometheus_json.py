"""JSON as Prometheus's HTTP API writes it: numbers as texts, times in seconds, a label set as an object."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import cast

import orjson

from ordinaut_ext_observability.history.series import Labels, Series
from ordinaut_ext_observability.promql.errors import ExecutionError
from ordinaut_ext_observability.promql.query import Answer, Sample

MAX_ANSWER_BYTES = 32 * 1024 * 1024
"""Longest answer: an hour of 5,000 series takes 22 MB, and no panel of a dashboard can draw a tenth of that."""

_PIECE_BYTES = 32 * 1024
"""Size from which on a piece is sent by itself: few enough pieces, each written in a fraction of a millisecond."""
_POINTS_AT_ONCE = 200
_LEAST_PLAIN, _LEAST_LARGE = 1e-6, 1e21  # between them Prometheus writes samples without an exponent

TRUNCATED = "results truncated due to limit"
"""Prometheus's words for an answer with more series than were asked for."""


def format_value(value: float, *, exponents: bool = True) -> str:
    """The shortest decimal that is this number, as Go writes it: `1`, `0.1`, `1e+21`, `+Inf`, `NaN`.

    Without `exponents` no number has one: Prometheus writes those of scalars so.
    """
    text = repr(value)
    if text.endswith(".0"):
        return text[:-2]
    if text[-1] in "fn":
        return "NaN" if text == "nan" else text.replace("inf", "Inf").replace("Inf", "+Inf" if value > 0 else "Inf")
    if "e" not in text or (exponents and not _LEAST_PLAIN <= abs(value) < _LEAST_LARGE):
        return text
    return format(Decimal(text), "f")


def format_time(milliseconds: int) -> str:
    """Seconds since 1970, with three decimals or none."""
    seconds, rest = divmod(abs(milliseconds), 1000)
    return f"{'-' if milliseconds < 0 else ''}{seconds}{f'.{rest:03d}' if rest else ''}"


def render_answer(answer: Answer, at_ms: int, limit: int = 0) -> Iterator[str]:
    """The field `data` of a query at this time, in short pieces; at most `limit` series, 0: all of them.

    The answer is used up.
    """
    result_type = f'{{"resultType":"{answer.type}","result":'
    if isinstance(answer.value, list):
        yield f"{result_type}["
        series = cast("list[Sample | Series]", answer.value[: limit or None])
        answer.value.clear()  # one by one they are let go below: all at once takes as long as some pieces
        series.reverse()
        comma = ""
        while series:
            one = series.pop()
            before = f'{comma}{{"metric":{dump(dict(one.labels))},'
            if isinstance(one, Sample):
                yield f'{before}"value":[{format_time(at_ms)},"{format_value(one.value)}"]}}'
            else:
                yield f'{before}"values":['
                yield from _points(one.timestamps, one.values)
                yield "]}"
            comma = ","
        yield "]}"
        return
    text = answer.value if isinstance(answer.value, str) else format_value(answer.value, exponents=False)
    yield f"{result_type}[{format_time(at_ms)},{dump(text)}]}}"


def _points(timestamps: Sequence[int], values: Sequence[float]) -> Iterator[str]:
    for start in range(0, len(values), _POINTS_AT_ONCE):
        points = zip(*(side[start : start + _POINTS_AT_ONCE] for side in (timestamps, values)), strict=True)
        texts = [f'[{format_time(at)},"{format_value(value)}"]' for at, value in points]
        yield f"{',' if start else ''}{','.join(texts)}"


def render_list(items: Iterable[str | Labels]) -> Iterator[str]:
    """A list of texts, or of label sets as objects."""
    yield "["
    for number, item in enumerate(items):
        yield f"{',' if number else ''}{dump(item if isinstance(item, str) else dict(item))}"
    yield "]"


def dump(value: object) -> str:
    """Any value as JSON."""
    return orjson.dumps(value).decode()


def render_success(
    data: Iterable[str], *, infos: Sequence[str] = (), warnings: Sequence[str] = ()
) -> Generator[None, None, list[bytes]]:
    """The whole answer around its field `data`, in pieces to send; each step is short.

    Raises ExecutionError where it would be longer than `MAX_ANSWER_BYTES`.
    """
    pieces: list[bytes] = []
    texts, length, total = ['{"status":"success","data":'], 0, 0
    for text in data:
        texts.append(text)
        length += len(text)
        if length >= _PIECE_BYTES:
            pieces.append("".join(texts).encode())
            texts, length, total = [], 0, total + length
        if total + length > MAX_ANSWER_BYTES:
            megabytes = MAX_ANSWER_BYTES // 1024**2
            raise ExecutionError(f"the answer is larger than {megabytes} MB: ask for fewer series, or a longer step")
        yield
    said = {"warnings": warnings, "infos": infos}
    texts += [f',"{name}":{dump(list(messages))}' for name, messages in said.items() if messages]
    pieces.append("".join((*texts, "}")).encode())
    return pieces


def render_error(error_type: str, message: str) -> bytes:
    """The answer to a query that failed."""
    return orjson.dumps({"status": "error", "errorType": error_type, "error": message})
