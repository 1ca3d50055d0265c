"""Functions that templates may call, and how Go writes their values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from ordinaut_ext_observability.errors import ObservabilityError

_DIRECTIVE: Final = re.compile(r"%(?:%|([-+ 0]*)([0-9]{0,3})((?:\.[0-9]{0,3})?)([svdfegq]))")
_VERBS: Final = {str: "svq", int: "dv", float: "gvfe"}
"""Verbs of each type; `%v` means the first."""


class TemplateError(ObservabilityError):
    """A template that cannot be used, or that failed on some values."""


class Fields(dict[str, Any]):
    """Something with named fields and no others: a sample that `query` found, or the dot outside of all blocks."""


def text_of(value: Any, flags: str = "", width: str = "", precision: str = "", verb: str = "v") -> str:
    """Write a value as Go's `printf` does: `1e+06`, `+Inf`, `map[instance:a job:b]`, `%!d(float64=1.5)`."""
    if isinstance(value, Mapping) and not isinstance(value, Fields):
        value = f"map[{' '.join(f'{name}:{value[name]}' for name in sorted(value))}]"
    kind = type(value)
    if kind not in _VERBS:
        raise TemplateError("what query gives cannot be written: take first of it, then value or label")
    if verb not in _VERBS[kind]:
        name = {str: "string", int: "int", float: "float64"}[kind]
        return f"%!{verb}({name}={text_of(value, flags, width, precision)})"
    if verb == "v":
        flags, verb = flags.replace("+", ""), _VERBS[kind][0]
    if verb == "q":
        value, verb, precision = json.dumps(f"%{precision}s" % value, ensure_ascii=False), "s", ""
    is_finite = kind is not float or math.isfinite(value)
    if not is_finite:
        flags = flags.replace("0", "") + ("+" if math.isinf(value) and " " not in flags else "")
    elif verb == "g" and not precision:
        # The shortest text that reads back as the same number. Go writes it with an exponent below 0.0001 and from 1e6.
        _, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
        has_exponent = value and not -4 <= len(digits) + int(exponent) - 1 < 6
        verb, precision = ("e", f".{len(digits) - 1}") if has_exponent else ("f", f".{max(0, -int(exponent))}")
    text = str(f"%{flags}{width}{precision}{verb}" % value)
    return text if is_finite else text.replace("inf", "Inf").replace("nan", "NaN")


def check_format(form: object, values: int) -> None:
    """Raise a `TemplateError` where a `printf` of so many values cannot have this format."""
    if not isinstance(form, str):
        raise TemplateError("printf takes a format in quotes first")
    if (bad := _DIRECTIVE.sub("", form).partition("%"))[1]:
        raise TemplateError(f"printf: %{bad[2][:5]} is not supported; there are %s %v %d %f %e %g %q %%")
    if (verbs := len(_DIRECTIVE.findall(form)) - form.count("%%")) != values:
        raise TemplateError(f"printf: the format takes {verbs} values, not {values}")


def _printf(form: str, *values: object) -> str:
    left = iter(values)
    return _DIRECTIVE.sub(lambda found: text_of(next(left), *found.groups()) if found[4] else "%", form)


def _humanize(value: Any, large: Sequence[str] = "kMGTPEZY", small: str = "munpfazy", base: int = 1000) -> str:
    """Write a number with four digits and the prefix that leaves it between 1 and `base`."""
    number, prefix = float(value), ""
    is_large = abs(number) >= 1
    for following in (large if is_large else small) if number and math.isfinite(number) else ():
        if abs(number) < base if is_large else abs(number) >= 1:
            break
        prefix, number = following, number / base if is_large else number * base
    return text_of(number, precision=".4") + prefix


def humanize_duration(value: Any) -> str:
    number = float(value)
    if not abs(number) >= 60 or math.isinf(number):
        return _humanize(number, large="") + ("s" if math.isfinite(number) else "")
    minutes, seconds = divmod(int(abs(number)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = f"{days}d {hours}h {minutes}m {seconds}s"
    return ("-" if number < 0 else "") + re.sub(r"^0d (0h )?", "", parts)


def _humanize_timestamp(value: Any) -> str:
    number = float(value)
    if not math.isfinite(number):
        return text_of(number)
    milliseconds = math.copysign(int(abs(number) * 1e9) // 10**6, number)
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return f"{at:%Y-%m-%d %H:%M:%S.%f}".rstrip("0").rstrip(".") + " +0000 UTC"


def _first(samples: list[Fields]) -> Fields:
    if not samples:
        raise TemplateError("first: the query has no result")
    return samples[0]


def _sort_by_label(name: str, samples: list[Fields]) -> list[Fields]:
    return sorted(samples, key=lambda sample: sample["Labels"].get(name, ""))


FUNCTIONS: Final[Mapping[str, tuple[Callable[..., Any], tuple[type, ...]]]] = {
    "first": (_first, (list,)),
    "humanize": (_humanize, (object,)),
    "humanize1024": (lambda value: _humanize(value, [f"{prefix}i" for prefix in "kMGTPEZY"], "", 1024), (object,)),
    "humanizeDuration": (humanize_duration, (object,)),
    "humanizePercentage": (lambda value: _humanize(float(value) * 100, "", "") + "%", (object,)),
    "humanizeTimestamp": (_humanize_timestamp, (object,)),
    "label": (lambda name, sample: sample["Labels"].get(name, ""), (str, Fields)),
    "printf": (_printf, (str,)),
    "query": (str, (str,)),
    "sortByLabel": (_sort_by_label, (str, list)),
    "toLower": (str.lower, (str,)),
    "toUpper": (str.upper, (str,)),
    "value": (lambda sample: sample["Value"], (Fields,)),
}
"""Functions and the types of what they take; `printf` takes values besides, and `query` is the expansion's."""
