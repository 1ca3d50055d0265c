"""Runbooks taken apart: what each tells people to type, to ask and to read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ordinaut_ext_observability.alerts.runbooks import built_in_alerts, make_runbook

COMMAND = "ordinaut-observability "
RUNBOOKS = {alert: make_runbook(alert) for alert in built_in_alerts()}


def codes(text: str) -> list[str]:
    """Everything in a runbook that is set as code within a line."""
    return re.findall(r"`([^`\n]+)`", text)


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of ours, without its name."""
    return (shlex.split(code)[1:] for code in codes(text) if code.startswith(COMMAND))


def queries(text: str) -> list[str]:
    """Every PromQL expression: the alert's own, those of the command `query`, and those for another Prometheus."""
    own = re.findall(r"```promql\n(.*?)```", text, re.DOTALL)
    asked = [words[1] for words in commands(text) if words[0] == "query"]
    return own + asked + [code for code in codes(text) if re.match(r"(time|increase)\(", code)]
