"""Compares expressions."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from ordinaut_ext_observability.promql.matchers import LabelMatcher


def meaning(node: object) -> str:
    """A text that is the same for expressions of one meaning: the order of a selector's conditions has none."""
    if isinstance(node, tuple):
        parts = [meaning(part) for part in node]
        return f"({','.join(sorted(parts) if isinstance(next(iter(node), None), LabelMatcher) else parts)})"
    if not is_dataclass(node) or isinstance(node, LabelMatcher):
        return repr(node)
    return f"{type(node).__name__}({','.join(meaning(getattr(node, field.name)) for field in fields(node))})"
