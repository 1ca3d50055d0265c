"""Runbooks of the built-in alerts: a file `<alert>.md` for each, which begins with what the alert means for users.

What is the same for all is added here: when the alert fires, and how to silence it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from importlib.resources import files

from ordinaut_ext_observability.alerts.builtin import builtin_groups
from ordinaut_ext_observability.alerts.rules import AlertingRule, RuleGroup, show_duration

_RUNBOOK = """\
# {name}

{summary}. Severity: {severity}. It fires when this has {held}:

```promql
{query}
```

{text}

## How to silence it
- For a time: `ordinaut-observability silence add alertname={name} --for 2h --reason "why"`
- Another threshold, or never: `rules` in the configuration file, docs/configuration.md.

Commands ask http://127.0.0.1:8000 with the token in `ORDINAUT_OBS_OPERATOR_TOKEN`; `--url` and `--token` name others.
`db` and `advise` ask the database in `DATABASE_URL`. Paths are below `/ext/observability`.
"""


@cache
def built_in_alerts() -> dict[str, AlertingRule]:
    """The built-in alerts by name, as they are shipped."""
    return {rule.name: rule for group in builtin_groups() for rule in group.rules if isinstance(rule, AlertingRule)}


def read_runbook(alert: str) -> str:
    """The file of an alert's runbook. Raises KeyError where the alert is none of the built-in ones."""
    return files(__package__).joinpath(f"{built_in_alerts()[alert].name}.md").read_text("utf-8").strip()


def make_runbook(alert: str) -> str:
    """The whole runbook of an alert, in Markdown. Raises KeyError where the alert is none of the built-in ones."""
    text, rule = read_runbook(alert), built_in_alerts()[alert]
    held = f"had a result for {show_duration(rule.for_ms)}" if rule.for_ms else "a result"
    facts = {"summary": rule.annotations["summary"], "severity": rule.labels["severity"], "query": rule.query.strip()}
    return _RUNBOOK.format(name=alert, held=held, text=text, **facts)


def meaning_of(alert: str) -> str:
    """The first paragraph of an alert's runbook. Raises KeyError where the alert is none of the built-in ones."""
    return read_runbook(alert).partition("\n\n")[0]


def link_runbooks(groups: Iterable[RuleGroup], url: str) -> tuple[RuleGroup, ...]:
    """The built-in groups with the annotation `runbook_url`, below the URL of our endpoints; none without a URL."""
    if not url:
        return tuple(groups)
    base = url.replace("{", "%7B")  # a template would begin there
    return tuple(
        replace(
            group, rules=tuple(_linked(each, base) if isinstance(each, AlertingRule) else each for each in group.rules)
        )
        for group in groups
    )


def _linked(rule: AlertingRule, url: str) -> AlertingRule:
    from ordinaut_ext_observability.alerts.templates import compile_template

    link = compile_template(f"{url}/runbooks/{rule.name}")
    return replace(rule, annotations={**rule.annotations, "runbook_url": link})
