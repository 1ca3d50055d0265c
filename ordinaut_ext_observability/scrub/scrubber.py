"""Texts, values and lines of JSON without the secrets and personal data in them: the one call at every exit.

    scrubber = Scrubber()
    scrubber.text("ask bob@example.com")  # 'ask [REDACTED_EMAIL]'

Nothing here raises. What takes too long to look at is dropped, never passed.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import orjson

from ordinaut_ext_observability.scrub.keys import is_secret
from ordinaut_ext_observability.scrub.patterns import KINDS, MARKER, Kind, compiled
from ordinaut_ext_observability.scrub.plain_values import encode, put, text_of
from ordinaut_ext_observability.scrub.prefilter import Prefilter, make_prefilter

MAX_TEXT_LENGTH = 64 * 1024
"""Longest text that is looked at, in characters: four times the longest log line."""

MAX_DEPTH, MAX_VALUES = 20, 20_000
"""How deep containers may stand in each other, and values in one: what is beyond is dropped."""

_MAX_ROUNDS = 5
"""A text is looked at until nothing is found: what is left may stand together anew."""

_NO_SECRETS = ("", "set", "unset")
"""Texts under the name of a secret that tell nothing of it."""

_LEAST_NUMBER, _MOST_NUMBER = 10**13, 10**19
"""Numbers between have as many digits as cards."""

# Fields of every line, which the host's data cannot reach, and ids.
_FIXED = frozenset(
    (
        *("timestamp", "level", "logger", "module", "function", "line", "process"),
        *("correlation_id", "request_id", "trace_id", "span_id"),
    )
)


class Scrubber:
    """Replaces what it finds by a marker that names the kind: `[REDACTED_EMAIL]`."""

    def __init__(
        self,
        allow: Collection[str] = (),
        key: bytes | None = None,
        count: Callable[[str], object] = lambda _kind: None,
        on_error: Callable[[Exception], object] = lambda _error: None,
    ) -> None:
        """`allow` are paths of fields left as they are, `user.contact`; with a `key` persons are told apart.

        `count` is told the kind of each secret, `on_error` what went wrong here.
        """
        self._allow = frozenset(allow)
        self._key = key
        self._count = count
        self._on_error = on_error

    @cached_property
    def prefilter(self) -> Prefilter:
        """The first pass, made when it is first needed."""
        return make_prefilter([kind.hint for kind in KINDS])

    def text(self, text: str) -> str:
        """The text without what is found in it."""
        try:
            if len(text) > MAX_TEXT_LENGTH:
                return self._mark("TOO_LONG")
            for _ in range(_MAX_ROUNDS):
                hits = self.prefilter(text)
                if not hits:
                    return text
                before = text
                for number in sorted(hits):
                    text = self._replace(KINDS[number], text)
                if text == before:
                    return text
        except Exception as error:  # noqa: BLE001 - nothing is passed that was not looked at
            self._on_error(error)
        return self._mark("FAILED")

    def value(self, value: Any) -> Any:
        """The value, containers of the same types, without what is found in texts, bytes, numbers, keys, exceptions."""
        try:
            return self._walk(value, (), [MAX_VALUES])
        except Exception as error:  # noqa: BLE001 - as above
            self._on_error(error)
            return self._mark("FAILED")

    def lines(self, lines: Sequence[str]) -> Sequence[str]:
        """Log lines, each one JSON object. Those without a find are the same."""
        try:
            if not self.prefilter("\n".join(lines)):
                return lines
            return [self.json(line, _FIXED) if self.prefilter(line) else line for line in lines]
        except Exception as error:  # noqa: BLE001 - as above
            self._on_error(error)
            return [f'{{"message":"{self._mark("FAILED")}"}}' for _ in lines]

    def json(self, text: str, fixed: Collection[str] = ()) -> str:
        """The JSON without what is found; fields of these names in the outermost object stay."""
        try:
            given = orjson.loads(text)
            kept = {name: value for name, value in given.items() if name in fixed} if fixed else {}
            scrubbed = self.value(given)
            if kept:
                scrubbed = {name: kept.get(name, value) for name, value in scrubbed.items()}
            return text if scrubbed == given else encode(scrubbed).decode()
        except Exception as error:  # noqa: BLE001 - as above
            self._on_error(error)
            return f'{{"message":"{self._mark("FAILED")}"}}'

    def _replace(self, kind: Kind, text: str) -> str:
        parts: list[str] = []
        done = 0
        for found in kind.expression.finditer(text):
            span = kind.span(found)
            if span is not None and span[0] >= done:
                parts += text[done : span[0]], self._mark(kind.name, text[span[0] : span[1]], person=kind.person)
                done = span[1]
        return "".join(parts) + text[done:]

    def _mark(self, kind: str, secret: str = "", *, person: bool = False) -> str:
        if compiled(MARKER).fullmatch(secret.strip("\"'")):
            return secret
        self._count(kind.lower())
        if self._key is None or not person:
            return f"[REDACTED_{kind}]"
        digest = hmac.digest(self._key, secret.lower().encode("utf-8", "surrogatepass"), "sha256").hex()
        return f"[REDACTED_{kind}:{digest[:8]}]"

    def _walk(self, value: Any, path: tuple[str, ...], left: list[int]) -> Any:
        """The value at this path; `left` holds how many more are looked at."""
        left[0] -= 1
        if left[0] < 0 or len(path) > MAX_DEPTH:
            return self._mark("TOO_LARGE")
        if self._allow and ".".join(filter(None, path)) in self._allow:
            return value
        if isinstance(value, dict):
            walked: dict[str, Any] = {}
            for name, item in value.items():
                put(walked, *self._field(name, item, path, left))
            return walked
        if not isinstance(value, (list, tuple, set, frozenset)):
            return self._single(value)
        if len(value) == 2 and isinstance(value, (list, tuple)) and isinstance(value[0], str):
            return _like(value, self._field(value[0], value[1], path, left))
        return _like(value, [self._walk(item, path, left) for item in value])

    def _single(self, value: Any) -> Any:
        """A value that is no container."""
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, (bytes, bytearray)):
            return self.text(value.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {text_of(value)}")
        if type(value) is int and _LEAST_NUMBER <= value < _MOST_NUMBER and "[" in (text := self.text(str(value))):
            return text
        return value

    def _field(self, name: Any, value: Any, path: tuple[str, ...], left: list[int]) -> tuple[Any, Any]:
        """The name and what stands under it."""
        shown = self.text(name) if isinstance(name, str) else name
        path = (*path, text_of(name))
        if not isinstance(name, str) or not is_secret(name) or ".".join(filter(None, path)) in self._allow:
            return shown, self._walk(value, path, left)
        nothing = value is None or isinstance(value, bool) or (isinstance(value, str) and value in _NO_SECRETS)
        return shown, value if nothing else self._mark("SECRET", value if isinstance(value, str) else "")


def _like(container: Any, items: Iterable[Any]) -> Any:
    """The items in a container of the same kind."""
    kinds = (list, tuple, frozenset, set)
    return next(kind for kind in kinds if isinstance(container, kind))(items)
