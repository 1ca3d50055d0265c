"""Details of checks without the secrets they may hold."""

from __future__ import annotations

from typing import Any

from ordinaut_ext_observability.scrub.plain_values import plain_value
from ordinaut_ext_observability.scrub.text import MASK, SECRET_KEY, mask_text


def mask_details(value: Any) -> Any:
    """The value as plain JSON, bounded, the texts in it masked, and whatever stands under a secret's name."""
    return _mask(plain_value(value))


def _mask(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            (masked := mask_text(name)): MASK if SECRET_KEY.search(masked) else _mask(item)
            for name, item in value.items()
        }
    if isinstance(value, list):
        is_pair = len(value) == 2 and isinstance(value[0], str) and SECRET_KEY.search(value[0])
        return [mask_text(value[0]), MASK] if is_pair else [_mask(item) for item in value]
    return mask_text(value) if isinstance(value, str) else value
