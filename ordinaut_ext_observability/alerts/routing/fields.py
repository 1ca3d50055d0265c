"""Types of fields in what people write about routing, in the configuration file or to an endpoint."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import AfterValidator, BeforeValidator, Field

from ordinaut_ext_observability.alerts.routing.matchers import make_matcher, parse_matchers
from ordinaut_ext_observability.promql.matchers import LabelMatcher
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.settings.environment import read_regular_file

_MAX_SECRET_BYTES: Final = 4096


def _duration(value: Any) -> int:
    try:
        return parse_duration(str(value) if isinstance(value, str) else "")
    except ValueError:
        raise ValueError("is not a duration as Prometheus writes it, such as 30s, 5m or 1h30m") from None


def read_durations(value: Any) -> tuple[int, ...]:
    found = tuple(_duration(each) for each in (value if isinstance(value, list) else [value]))
    if not found or min(found) <= 0:
        raise ValueError("must be a duration above 0, or a list of them for ever slower repeats")
    return found


def _matchers(value: Any) -> list[LabelMatcher]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError('must be a list of matchers such as severity="critical"')
    return [matcher for text in value for matcher in parse_matchers(text)]


def _regex(value: str) -> str:
    return make_matcher("any", "=~", value).value


def _from_file(path: str) -> str:
    try:
        return read_regular_file(path, _MAX_SECRET_BYTES).decode().strip()
    except ValueError as error:
        raise ValueError(f"the file {error}") from None


HttpUrl = Annotated[str, Field(pattern=r"^https?://[^\s/]+\S*$", max_length=2000)]
HostAndPort = Annotated[str, Field(pattern=r"^\S+:\d{1,5}$")]
Duration = Annotated[int, BeforeValidator(_duration)]
Matchers = Annotated[Any, BeforeValidator(_matchers)]
Regexes = dict[str, Annotated[str, AfterValidator(_regex)]]
SecretFile = Annotated[str, AfterValidator(_from_file)]
"""The path of a file; what is kept is its content."""
