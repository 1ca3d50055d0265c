"""What is derived, and from what."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from ordinaut_ext_observability.collectors.definitions import SystemMetrics
from ordinaut_ext_observability.collectors.redis_definitions import RedisMetrics
from ordinaut_ext_observability.db.definitions import DatabaseMetrics
from ordinaut_ext_observability.db.insight_metrics import InsightMetrics
from ordinaut_ext_observability.manifest import ENTRY_POINT, manifest
from ordinaut_ext_observability.metrics.definitions import Metrics
from ordinaut_ext_observability.metrics.family import AnyFamily, Histogram
from ordinaut_ext_observability.metrics.registry import Registry
from ordinaut_ext_observability.settings import describe_settings

_BEGIN = "<!-- generated: settings -->"
_END = "<!-- end of generated -->"


def settings_table() -> str:
    """The settings as a Markdown table."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    rows += [
        f"| `{setting.variable}` | `{setting.default}` | {setting.description} |" for setting in describe_settings()
    ]
    return "\n".join(rows)


def readme(current: str) -> str:
    """The README with its settings table brought up to date.

    Raises:
        ValueError: the marks around the table are missing.
    """
    before, begin, rest = current.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"README.md lacks the marks {_BEGIN} and {_END}")
    return f"{before}{_BEGIN}\n{settings_table()}\n{_END}{after}"


def metrics_reference(_current: str) -> str:
    """Every metric with its type, labels and meaning."""
    lines = [
        "# Metrics",
        "",
        "Generated from the definitions by `python -m ordinaut_ext_observability.generate`. What is read from PostgreSQL",
        "and Redis, and of the host's database engines, is there where these are configured.",
        "",
        "| metric | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for family in _all_families():
        labels = ", ".join(family.label_names)
        meaning = family.documentation.replace("|", "\\|").replace("<", "&lt;")
        if isinstance(family, Histogram):
            meaning += f" Buckets: {', '.join(f'{bound:g}' for bound in family.bounds)} s."
        lines.append(f"| `{family.name}` | {family.kind} | {labels} | {meaning} |")
    return "\n".join(lines) + "\n"


def _all_families() -> list[AnyFamily]:
    metrics = Metrics(Registry())
    DatabaseMetrics(metrics)
    InsightMetrics(metrics)
    SystemMetrics(metrics)
    RedisMetrics(metrics)
    return metrics.registry.families()


def loader_manifest(_current: str) -> str:
    """The manifest the host's loader reads from a folder in `ORDINAUT_EXT_PATHS`."""
    return json.dumps(manifest("extension.py"), indent=2) + "\n"


def catalogue_manifest(_current: str) -> str:
    """The manifest for people and catalogues. JSON values are YAML values too."""
    lines = ["# Generated. What the host's loader reads is ordinaut_ext_observability/extension.json."]
    lines += [f"{key}: {json.dumps(value)}" for key, value in manifest(ENTRY_POINT).items()]
    return "\n".join(lines) + "\n"


GENERATED: Mapping[str, Callable[[str], str]] = {
    "README.md": readme,
    "docs/metrics.md": metrics_reference,
    "extension.yaml": catalogue_manifest,
    "ordinaut_ext_observability/extension.json": loader_manifest,
}
"""Paths below the repository's top, and what makes each file's text from its present one."""


def outdated(repository: Path) -> list[str]:
    """The files that are not what they would be generated as."""
    return [path for path, text in _generate(repository).items() if _read(repository / path) != text]


def write(repository: Path) -> None:
    """Bring every generated file up to date."""
    for path, text in _generate(repository).items():
        (repository / path).parent.mkdir(parents=True, exist_ok=True)
        (repository / path).write_text(text, encoding="utf-8")


def _generate(repository: Path) -> dict[str, str]:
    return {path: make(_read(repository / path)) for path, make in GENERATED.items()}


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
