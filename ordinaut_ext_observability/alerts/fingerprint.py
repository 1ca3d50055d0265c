"""The number by which an alert is known everywhere: Alertmanager's own, so that both name an alert alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_OFFSET: Final = 14695981039346656037
_PRIME: Final = 1099511628211
"""Those of FNV-1a with 64 bits (http://www.isthe.com/chongo/tech/comp/fnv/)."""


def fingerprint(labels: Mapping[str, str]) -> str:
    """The FNV-1a hash of sorted labels, in 16 hexadecimal digits: that of no labels is `cbf29ce484222325`.

    Only labels count. What changes from one evaluation to the next, such as a value, belongs into annotations.
    """
    digest = _OFFSET
    for name, value in sorted(labels.items()):
        for byte in b"%b\xff%b\xff" % (name.encode(), value.encode()):
            digest = ((digest ^ byte) * _PRIME) & 0xFFFFFFFFFFFFFFFF
    return f"{digest:016x}"
