"""Parameters of Prometheus's API, from the URL and from the form in the body."""

from __future__ import annotations

import math
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.requests import ClientDisconnect, Request

from ordinaut_ext_observability.promql.errors import BadQueryError
from ordinaut_ext_observability.promql.times import parse_duration, parse_time
from ordinaut_ext_observability.web.queries import QueryCanceledError

MAX_BODY_BYTES = 64 * 1024
"""Longest form: an expression of the longest kind, every character escaped, and room for the rest."""

_MAX_DISCARDED_BYTES = 16 * 1024 * 1024
"""Bytes of a form too long that are still read: a client that is sending does not listen to an answer."""
_MAX_FIELDS = 200
_FORM = "application/x-www-form-urlencoded"


class Parameters:
    """Values by name; of one given twice, the first counts, and the body's comes before the URL's."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """The value, empty where there is none."""
        return next(iter(self.texts(name)), "")

    def texts(self, name: str) -> list[str]:
        """All values of this name."""
        return [value for field, value in self._fields if field == name]

    def time_ms(self, name: str, default: int | None = None) -> int:
        """A time in milliseconds since 1970. Raises BadQueryError where it is none."""
        return self._milliseconds(name, default, parse_time, "timestamp")

    def duration_ms(self, name: str, default: int | None = None) -> int:
        """A duration in milliseconds. Raises BadQueryError where it is none."""
        return self._milliseconds(name, default, parse_duration, "duration")

    def _milliseconds(self, name: str, default: int | None, parse: Callable[[str], int], kind: str) -> int:
        text = self.text(name)
        if not text and default is not None:
            return default
        try:
            return parse(text)
        except ValueError:
            raise invalid(name, f'cannot parse "{_shown(text)}" to a valid {kind}') from None

    def limit(self, name: str = "limit") -> int:
        """A number of results, 0 where they are not limited. Raises BadQueryError where it is none."""
        text = self.text(name) or "0"
        if not (text.isascii() and text.isdecimal() and len(text) < 16):
            raise invalid(name, f'cannot parse "{_shown(text)}" to a number of zero or more')
        return int(text)

    def seconds(self, name: str, most: float) -> float:
        """A time to wait, at most so long."""
        given = self.duration_ms(name, math.ceil(most * 1000)) / 1000
        if given <= 0:
            raise invalid(name, "must be more than zero")
        return min(given, most)


def invalid(parameter: str, problem: str) -> BadQueryError:
    """An error that names the parameter, in Prometheus's words."""
    return BadQueryError(f'invalid parameter "{parameter}": {problem}')


def _shown(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:100]}…"


async def read_parameters(request: Request) -> Parameters:
    """The parameters of a request. Raises BadQueryError where they are too long or too many."""
    body = await _read_form(request)
    query = request.scope.get("query_string", b"")
    if len(query) > MAX_BODY_BYTES:
        raise BadQueryError(f"the URL is longer than {MAX_BODY_BYTES // 1024} kB: send the query as a form, by POST")
    try:
        fields = [
            field
            for text in (body, query)
            for field in parse_qsl(text.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
        ]
    except ValueError:
        raise BadQueryError(f"there are more than {_MAX_FIELDS} parameters") from None
    return Parameters(fields)


async def _read_form(request: Request) -> bytes:
    """The body where it is a form, else nothing; all of it is read, so that the client can read the answer."""
    chunks: list[bytes] = []
    length = 0
    try:
        async for chunk in request.stream():
            length += len(chunk)
            if length <= MAX_BODY_BYTES:
                chunks.append(chunk)
            elif length > _MAX_DISCARDED_BYTES:
                break
    except ClientDisconnect:
        raise QueryCanceledError from None
    if length > MAX_BODY_BYTES:
        raise BadQueryError(f"the body is longer than {MAX_BODY_BYTES // 1024} kB: ask for less at a time")
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return b"".join(chunks) if content_type == _FORM else b""
