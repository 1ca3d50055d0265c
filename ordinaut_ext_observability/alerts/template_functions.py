"""Functions that templates may call, and how Go writes their values."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any, Final, NamedTuple

from ordinaut_ext_observability.errors import ObservabilityError
from ordinaut_ext_observability.promql.regex import compile_regex
from ordinaut_ext_observability.promql.regex_cost import Cost
from ordinaut_ext_observability.promql.regex_syntax import RegexParser

MAX_OUTPUT: Final = 65_536
"""Characters of an expanded text, and of each text made on the way; notifications take fewer."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TYPES: Final = {bool: "bool", int: "int", float: "float64", str: "string"}
_VERB: Final = re.compile(r"%([-+ 0]*)([0-9]{0,3})(?:\.([0-9]{0,3}))?(.?)", re.DOTALL)
_VERBS_OF: Final = {bool: "vt", int: "vd", float: "veEfFgG", str: "vsq"}
_NUMBER: Final = re.compile(r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?|inf(?:inity)?)|nan", re.IGNORECASE)
_FIRST_LETTER: Final = re.compile(r"(?<![\w'\u2019])[^\W\d_]")
_HOST_AND_PORT: Final = re.compile(r"\A(?:\[([^\[\]]*)\]|([^:\[\]]*)):[^:\[\]]*\Z")
_REFERENCE: Final = re.compile(r"\$(?:(\$)|(\w+)|\{(\w+)\})", re.ASCII)


class TemplateError(ObservabilityError):
    """A template that cannot be used, or that failed on some values."""


class Sample(NamedTuple):
    """A series that `query` found; templates know the fields by these names."""

    Labels: Mapping[str, str]
    Value: float


def text_of(value: object) -> str:
    """A value as Go's `%v` writes it: `1e+06`, `+Inf`, `true`, `map[instance:a job:b]`."""
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{name}:{value[name]}' for name in sorted(value))}]"
    if type(value) not in _TYPES:
        raise TemplateError("what query gives cannot be written: take first of it, then value or label")
    return _formatted(value, "v", "", 0, None)


def _formatted(value: Any, verb: str, flags: str, width: int, precision: int | None) -> str:
    """A value as Go's `printf` writes it. A verb that does not fit is told in the text."""
    kind: Any = type(value)
    if verb not in _VERBS_OF[kind]:
        return f"%!{verb}({_TYPES[kind]}={_formatted(value, 'v', flags, width, precision)})"
    sign = text = ""
    if kind is str:
        text = json.dumps(value[:precision], ensure_ascii=False) if verb == "q" else value[:precision]
    elif kind is bool:
        text = str(value).lower()
    else:
        text = str(abs(value)).zfill(precision or 0) if kind is int else _digits(abs(value), verb, precision)
        plus = "+" if "+" in flags else " " if " " in flags else "+" if text == "Inf" else ""
        sign = "-" if math.copysign(1, value) < 0 and text != "NaN" else plus
        if "0" in flags and "-" not in flags and math.isfinite(value) and (kind is float or precision is None):
            text = text.zfill(width - len(sign))
    return (sign + text).ljust(width) if "-" in flags else (sign + text).rjust(width)


def _digits(value: float, verb: str, precision: int | None) -> str:
    """A positive number; without a precision, `g` and `v` give as many digits as tell it from all others."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Inf"
    if verb in "eEfF":
        return f"{value:.{6 if precision is None else precision}{verb}}"
    text = f"{value:.{precision}g}" if precision is not None else repr(value).removesuffix(".0")
    if precision is None and 1e6 <= value < 1e16:  # where Go writes an exponent, and Python does not yet
        whole, _, rest = text.partition(".")
        text = f"{whole[0]}.{whole[1:]}{rest}".rstrip("0").rstrip(".") + f"e+{len(whole) - 1:02d}"
    return text.upper() if verb == "G" else text


def check_format(form: str) -> None:
    """Raise a `TemplateError` where a format of `printf` has what is not supported."""
    for directive in _VERB.finditer(form):
        if directive[4] and directive[4] not in "vsdfFeEgGqt%":
            raise TemplateError(f"printf: {directive[0]} is not supported; use %v %s %q %d %f %e %g %t or %%")


def _printf(form: str, *arguments: object) -> str:
    check_format(form)
    left = iter([value if type(value) in _TYPES else text_of(value) for value in arguments])

    def replaced(directive: re.Match[str]) -> str:
        flags, width, precision, verb = directive.groups()
        if verb in {"", "%"}:
            return verb or "%!(NOVERB)"
        flags = flags.replace("+", "") if verb == "v" else flags  # it means something else there
        for value in left:
            return _formatted(value, verb, flags, int(width or 0), None if precision is None else int(precision or 0))
        return f"%!{verb}(MISSING)"

    text = _replace_all(_VERB, replaced, form)
    extra = ", ".join(f"{_TYPES[type(value)]}={text_of(value)}" for value in left)
    return f"{text}%!(EXTRA {extra})" if extra else text


def _replace_all(pattern: re.Pattern[str], replacement: Callable[[re.Match[str]], str], text: str) -> str:
    """`pattern.sub`, bounded, and as Go does it: no match of nothing where another match has just ended."""
    parts: list[str] = []
    end, length = 0, len(text)
    for found in pattern.finditer(text):
        if parts and found.end() == end:
            continue
        parts += [text[end : found.start()], replacement(found)]
        end, length = found.end(), length + len(parts[-1])
        if length > MAX_OUTPUT:
            raise TemplateError(f"the text gets longer than {MAX_OUTPUT} characters")
    return "".join((*parts, text[end:]))


@lru_cache(256)
def compile_search(pattern: str) -> tuple[re.Pattern[str], Cost]:
    """A pattern to be found anywhere in a text, and what it costs; raises `BadQueryError` where RE2 refuses it."""
    compile_regex(pattern)  # on its own first: its brackets are its own
    anywhere = RegexParser(f"(?s:.*?)(?-s:(?:{pattern}))(?s:.*)").pattern()
    return re.compile(RegexParser(f"(?-s:(?:{pattern}))").pattern().text), Cost(anywhere)


def _searched(pattern: str, text: str) -> re.Pattern[str]:
    compiled, cost = compile_search(pattern)
    if not cost.allows(text):
        raise TemplateError(f"the regular expression {pattern!r} may take too long on {len(text)} characters")
    return compiled


def _re_replace_all(pattern: str, replacement: str, text: str) -> str:
    def filled(found: re.Match[str]) -> str:
        def group(reference: re.Match[str]) -> str:
            name = reference[2] or reference[3]
            groups = {**found.groupdict(), **dict(zip(map(str, count()), (found[0], *found.groups()), strict=False))}
            return reference[1] or groups.get(name) or ""

        return _replace_all(_REFERENCE, group, replacement)

    return _replace_all(_searched(pattern, text), filled, text)


def _number(value: object) -> float:
    if type(value) in {int, float} or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        return float(value)  # type: ignore[arg-type]
    raise TemplateError(f"{text_of(value)[:50]!r} is no number")


def _short(number: float) -> str:
    return _formatted(number, "g", "", 0, 4)


def _scaled(number: float, prefixes: Iterable[str], base: int = 1000) -> str:
    """A number from 1 on, divided by the base until it is smaller than it; a smaller one multiplied until it is 1."""
    is_large, prefix = abs(number) >= 1, ""
    for following in prefixes if is_large else "munpfazy" if base == 1000 else ():
        if number == 0 or not math.isfinite(number) or (abs(number) < base if is_large else abs(number) >= 1):
            break
        prefix, number = following, number / base if is_large else number * base
    return _short(number) + prefix


def _humanize_duration(value: object) -> str:
    number = _number(value)
    if not math.isfinite(number):
        return _short(number)
    if abs(number) < 60:
        return _scaled(number, "") + "s"
    minutes, seconds = divmod(int(abs(number)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = f"{days}d {hours}h {minutes}m {seconds}s"
    return ("-" if number < 0 else "") + re.sub(r"^0d (0h )?", "", parts)


def _humanize_timestamp(value: object) -> str:
    number = _number(value)
    if not math.isfinite(number):
        return _short(number)
    if abs(number) >= 2**63 / 1e9:
        raise TemplateError(f"{text_of(number)} seconds are no time between the years 1677 and 2262")
    at = _EPOCH + timedelta(milliseconds=int(abs(number) * 1e9) // 10**6) * (-1 if number < 0 else 1)
    return f"{at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + " +0000 UTC"


def _first(samples: list[Sample]) -> Sample:
    if not samples:
        raise TemplateError("first: the query has no result")
    return samples[0]


def _cased(change: Callable[[str], str], text: str) -> str:
    """Character by character, as Go does it: one that would become two stays."""
    return "".join(changed if len(changed := change(character)) == 1 else character for character in text)


def _compared(is_true: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    """A comparison of one value with others, true when it is of any. All are texts, or integers, or decimals."""
    types = {str, int, float, bool} if is_true in {operator.eq, operator.ne} else {str, int, float}

    def compare(value: object, *others: object) -> bool:
        if type(value) not in types or {type(value)} != set(map(type, others)):
            raise TemplateError("values of two types cannot be compared: write 10.0, as $value is a decimal number")
        return any(is_true(value, other) for other in others)

    return compare


FUNCTIONS: Final[Mapping[str, tuple[str, Callable[..., Any]]]] = {
    "printf": ("s*", _printf),
    "humanize": ("a", lambda value: _scaled(_number(value), "kMGTPEZY")),
    "humanize1024": (
        "a",
        lambda value: _scaled(_number(value), ("ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"), 1024),
    ),
    "humanizeDuration": ("a", _humanize_duration),
    "humanizePercentage": ("a", lambda value: _short(_number(value) * 100) + "%"),
    "humanizeTimestamp": ("a", _humanize_timestamp),
    "toUpper": ("s", lambda text: _cased(str.upper, text)),
    "toLower": ("s", lambda text: _cased(str.lower, text)),
    "title": ("s", lambda text: _FIRST_LETTER.sub(lambda letter: _cased(str.title, letter[0]), text)),
    "match": ("ss", lambda pattern, text: _searched(pattern, text).search(text) is not None),
    "reReplaceAll": ("sss", _re_replace_all),
    "stripPort": ("s", lambda address: _HOST_AND_PORT.sub(r"\1\2", address)),
    "first": ("v", _first),
    "value": ("m", lambda sample: sample.Value),
    "strvalue": ("m", lambda sample: sample.Labels.get("__value__", "")),
    "label": ("sm", lambda name, sample: sample.Labels.get(name, "")),
    "sortByLabel": ("sv", lambda name, samples: sorted(samples, key=lambda sample: sample.Labels.get(name, ""))),
    "eq": ("aa*", _compared(operator.eq)),
    "ne": ("aa", _compared(operator.ne)),
    "lt": ("aa", _compared(operator.lt)),
    "le": ("aa", _compared(operator.le)),
    "gt": ("aa", _compared(lambda left, right: not left <= right)),  # true of NaN
    "ge": ("aa", _compared(lambda left, right: not left < right)),
    "not": ("a", operator.not_),
    **dict.fromkeys(("and", "or"), ("a*", operator.not_)),
    "query": ("s", str),
}
"""Types of arguments (s: text, v: result of `query`, m: sample, a: any; *: more), function (not of the last three)."""
