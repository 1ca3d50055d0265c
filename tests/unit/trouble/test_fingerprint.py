"""Fingerprints: what they depend on, and what they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ordinaut_ext_observability.trouble.recent import FRAMES, MAX_TEXT_LENGTH, describe

CODE = """
class Refused(ValueError):
    pass

def check(value):
    return [refuse(each) for each in [value]]

def refuse(value):
    raise Refused(f"{value} is refused")

def other(value):
    return [refuse(each) for each in [value]]

def deep(value):
    return deep(value - 1) if value else refuse(value)

def from_json(value):
    import json
    return json.loads(value)

def nested():
    def inner():
        raise ValueError
    inner()
"""


def load(above: str = "", path: str = "/srv/app/work.py") -> dict[str, Any]:
    """The module's code at another place in its file."""
    names = {"__name__": "app.work"}
    exec(compile(above + CODE, path, "exec"), names)  # noqa: S102 - the code above
    return names


def raised(call: Callable[..., Any], *arguments: Any) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - any
        call(*arguments)
    return caught.value


def fingerprint(call: Callable[..., Any], *arguments: Any) -> str:
    return describe(raised(call, *arguments))[0]


def test_lines_values_and_messages_make_no_difference() -> None:
    moved = load(above="# a comment\n" * 40)
    assert fingerprint(load()["check"], 1) == fingerprint(moved["check"], "another")
    assert describe(raised(load()["check"], 1))[1]["location"] == "/srv/app/work.py:9"
    assert describe(raised(moved["check"], 1))[1]["location"] == "/srv/app/work.py:49"


def test_another_type_and_another_way_make_another_fingerprint() -> None:
    names = load()
    found = {fingerprint(names[name], value) for name, value in (("check", 1), ("other", 1), ("refuse", 1))}
    assert len(found) == 3
    names["refuse"].__globals__["Refused"] = KeyError
    assert fingerprint(names["check"], 1) not in found


def test_the_depth_of_a_recursion_makes_no_difference() -> None:
    deep = load()["deep"]
    assert fingerprint(deep, 3) == fingerprint(deep, 90)
    endless = describe(raised(deep, -1))[1]  # too deep
    assert (endless["exception_type"], endless["frames"][0]) == ("RecursionError", "app.work:deep")


def test_frames_are_functions_of_the_hosts_code_alone_innermost_first() -> None:
    names = load()
    assert describe(raised(names["from_json"], "{"))[1]["frames"][0] == "app.work:from_json"
    assert describe(raised(names["nested"]))[1]["frames"][:2] == ["app.work:nested.<locals>.inner", "app.work:nested"]
    # A comprehension is a function of its own in Python 3.11 only.
    assert describe(raised(names["check"], 1))[1]["frames"][:2] == ["app.work:refuse", "app.work:check"]


def test_where_no_code_is_the_hosts_that_of_libraries_counts() -> None:
    installed = load(path="/usr/lib/python3/dist-packages/app/work.py")
    error = raised(installed["check"], 1)
    assert error.__traceback__ is not None
    error.__traceback__ = error.__traceback__.tb_next  # without the function above
    assert describe(error)[1]["frames"] == ["app.work:refuse", "app.work:check"]


def test_what_is_kept_is_bounded_text() -> None:
    names = load(path="/srv/\udcff" + "long/" * 400 + "work.py")
    names["__name__"] = "app\udcff" * 1000
    kind = type("Odd" * 1000, (Exception,), {})

    def fail() -> None:
        raise kind

    for error in (raised(names["deep"], 5), raised(fail), ValueError("never raised")):
        _, described = describe(error)
        texts = [described["exception_type"], described["location"], *described["frames"]]
        assert len(described["frames"]) <= FRAMES
        assert all(len(text) <= MAX_TEXT_LENGTH for text in texts)
        json.dumps(described, ensure_ascii=False).encode()
