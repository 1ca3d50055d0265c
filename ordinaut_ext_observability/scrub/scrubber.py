"""Texts, values, lines without secrets: `text("ask bob@example.com")` gives 'ask [REDACTED_EMAIL]'. Nothing raises."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from typing import Any

import orjson

from ordinaut_ext_observability.scrub.keys import is_secret
from ordinaut_ext_observability.scrub.patterns import KINDS, MARKER, Kind, Prefilter, compiled, shared_prefilter
from ordinaut_ext_observability.scrub.plain_values import encode, text_of

MAX_TEXT_LENGTH = 64 * 1024  # characters: four times the longest log line
MAX_VALUES = 20_000
"""Most that is looked at, of a text and of a value: what is longer, or further in, is dropped and never passed."""

_MAX_ROUNDS = 5  # a text is looked at until nothing is found: what is left may stand together anew
_NO_SECRETS = frozenset((None, True, False, "", "set", "unset"))  # under a secret's name they tell nothing of it
_CARD_NUMBERS = range(10**13, 10**19)

_OF_LINES = {
    *("timestamp", "level", "logger", "module", "function", "line", "process"),
    *("correlation_id", "request_id", "trace_id", "span_id"),
}
"""Fields of every line that are left as they are: ids, and what code says of itself."""

_FAILED = "[REDACTED_FAILED]"


class Scrubber:
    """Replaces what it finds by a marker that names the kind: `[REDACTED_EMAIL]`."""

    def __init__(
        self,
        allow: Collection[str] = (),
        key: bytes | None = None,
        count: Callable[[str], object] = lambda _kind: None,
        on_error: Callable[[Exception], object] = lambda _error: None,
    ) -> None:
        """`allow`: fields to leave, `user.contact`; with a `key` persons are told apart; `count` gets the kinds."""
        self._allow = frozenset(allow)
        self._key = key
        self._count = count
        self._on_error = on_error

    @cached_property
    def prefilter(self) -> Prefilter:
        """The first pass, made when it is first needed."""
        return shared_prefilter()

    def text(self, text: str) -> str:
        """The text without what is found in it."""
        if len(text) <= MAX_TEXT_LENGTH and not self.prefilter(text):
            return text
        scrubbed: str = self._safely(self._scrub, text, _FAILED)
        return scrubbed

    def value(self, value: Any) -> Any:
        """The value, containers of the same types, without what is found in texts, bytes, numbers, keys, exceptions."""
        return self._safely(lambda value: self._walk(value, "", self._allow, [MAX_VALUES]), value, _FAILED)

    def json(self, text: str, allow: Collection[str] = ()) -> str:
        """The JSON without what is found, the same text where nothing is; `allow` are further paths."""

        def scrub(text: str) -> str:
            given = orjson.loads(text)
            scrubbed = self._walk(given, "", self._allow.union(allow), [MAX_VALUES])
            return text if scrubbed == given else encode(scrubbed).decode()

        return self._safely(scrub, text, f'{{"message":"{_FAILED}"}}') if self.prefilter(text) else text

    def lines(self, lines: Sequence[str]) -> Sequence[str]:
        """Log lines, each one JSON object."""
        return [self.json(line, _OF_LINES) for line in lines] if self.prefilter("\n".join(lines)) else lines

    def _safely(self, scrub: Callable[[Any], Any], given: Any, otherwise: str) -> Any:
        try:
            return scrub(given)
        except Exception as error:  # noqa: BLE001 - nothing is passed that was not looked at, and nothing raised
            self._on_error(error)
            return otherwise

    def _scrub(self, text: str) -> str:
        if len(text) > MAX_TEXT_LENGTH:
            return self._mark("TOO_LONG")
        for _ in range(_MAX_ROUNDS):
            before = text
            for number in sorted(self.prefilter(text)):
                text = self._replace(KINDS[number], text)
            if text == before:
                return text
        return self._mark("FAILED")

    def _replace(self, kind: Kind, text: str) -> str:
        parts: list[str] = []
        done = 0
        for found in compiled(kind.pattern).finditer(text):
            span = kind.span(found) if found.start() >= done else None
            if span is not None:
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

    def _walk(self, value: Any, path: str, allow: Collection[str], left: list[int]) -> Any:
        """The value at this path; `left` holds how many more are looked at."""
        left[0] -= 1
        if left[0] < 0:
            return self._mark("TOO_LARGE")
        if isinstance(value, dict):
            walked: dict[Any, Any] = {}
            for name, item in value.items():
                shown, shown_item = self._field(name, item, path, allow, left)
                while shown in walked:
                    shown = f"{shown}_{len(walked)}"  # one more sign each time would take for ever
                walked[shown] = shown_item
            return walked
        kind: Any = next((kind for kind in (list, tuple, set, frozenset) if isinstance(value, kind)), None)
        if kind is None or hasattr(value, "_fields"):  # names are in the text of a named tuple
            return self._single(value)
        if len(value) == 2 and kind in (list, tuple) and compiled(r"[\w-]+|b'[\w-]+'").fullmatch(str(value[0])):
            return kind(self._field(value[0], value[1], path, allow, left))  # a header's name and value
        return kind(
            self._field(before, item, path, allow, left)[1]
            if isinstance(before, str) and before[:2] == "--"  # a command's option
            else self._walk(item, path, allow, left)
            for before, item in zip(("", *value), value, strict=False)
        )

    def _field(self, name: Any, value: Any, path: str, allow: Collection[str], left: list[int]) -> tuple[Any, Any]:
        """The name and what stands under it."""
        name = text_of(shown := self._single(name))
        path = f"{path}.{name}".lstrip(".")
        if path in allow:
            return shown, value
        if not is_secret(compiled(MARKER).sub("", name)):
            return shown, self._walk(value, path, allow, left)
        is_text = isinstance(value, str)
        nothing = (is_text or isinstance(value, bool) or value is None) and value in _NO_SECRETS
        return shown, value if nothing else self._mark("SECRET", value if is_text else "")

    def _single(self, value: Any) -> Any:
        """A value that is no container."""
        if isinstance(value, str):
            return self.text(str.__str__(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            text = self.text(bytes(value).decode("utf-8", "surrogateescape"))
            return type(value)(text.encode("utf-8", "surrogateescape"))
        if isinstance(value, BaseException):
            return self.text(f"{type(value).__name__}: {text_of(value)}")
        if value is None or type(value) in (bool, float) or (type(value) is int and value not in _CARD_NUMBERS):
            return value
        shown = self.text(text := text_of(value))
        return value if shown == text else shown
