"""What importing `observability` needs and does: the standard library, and one variable."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ordinaut_ext_observability.compat import EAGER, load_extension_eagerly

IMPORTS = "import observability.logging, observability.metrics, observability.health, observability.alerts, observability.tracing"


def test_needs_the_standard_library_alone(run_code: Callable[[str], Any]) -> None:
    """Workers run where FastAPI, pydantic, prometheus_client and the host's api package are not."""
    child = run_code(f"""
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("observability", "ordinaut_ext_observability"):
            raise ImportError(f"{{name}} is not of the standard library")
sys.meta_path.insert(0, Refuse())
{IMPORTS}
from observability.metrics import *
from observability.logging import *
from observability.health import *
from observability.alerts import *
from observability.tracing import *
""")
    assert (child.process.returncode, child.out, child.err) == (0, "", "")


def test_starts_no_thread_opens_nothing_and_leaves_logging_alone(run_code: Callable[[str], Any]) -> None:
    child = run_code(f"""
import logging, os, sys, threading
handlers, level, factory = list(logging.root.handlers), logging.root.level, logging.getLogRecordFactory()
files = os.listdir("/proc/self/fd")
{IMPORTS}
assert threading.active_count() == 1
assert len(os.listdir("/proc/self/fd")) == len(files)
assert (logging.root.handlers, logging.root.level) == (handlers, level)
assert logging.getLogRecordFactory() is factory
assert logging.getLogger("orchestrator.api").handlers == []
""")
    assert (child.process.returncode, child.out, child.err) == (0, "", "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (None, {"observability": True}),
        ("{}", {"observability": True}),
        ('{"webui": true}', {"webui": True, "observability": True}),
        ('{"observability": false}', {"observability": False}),
        ('{"observability": true, "x": false}', {"observability": True, "x": False}),
    ],
)
def test_extension_is_made_eager_where_nobody_said_otherwise(before: str | None, after: dict[str, bool]) -> None:
    environment = {} if before is None else {EAGER: before}
    load_extension_eagerly(environment)
    assert json.loads(environment[EAGER]) == after


@pytest.mark.parametrize("before", ["", "[]", "no", "null", '"observability"', '{"a": ', '{"a":' * 100_000])
def test_what_is_no_json_object_is_not_touched(before: str) -> None:
    environment = {EAGER: before}
    load_extension_eagerly(environment)
    assert environment == {EAGER: before}


def test_import_does_it(run_code: Callable[[str], Any]) -> None:
    child = run_code("import os, observability.logging; print(os.environ['ORDINAUT_EXT_ENTRY_EAGER'])")
    assert json.loads(child.out) == {"observability": True}
