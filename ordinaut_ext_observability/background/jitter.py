"""Random numbers that spread load. The generator is our own: drawing from the host's would change what it draws."""

from __future__ import annotations

import os
import random

_generator = random.Random()  # noqa: S311 - guards nothing
os.register_at_fork(after_in_child=_generator.seed)

draw = _generator.random
"""A number from 0 to 1, without 1."""


def spread(seconds: float, share: float = 0.1) -> float:
    """The duration, give or take up to this share of it."""
    return seconds * _generator.uniform(1 - share, 1 + share)
