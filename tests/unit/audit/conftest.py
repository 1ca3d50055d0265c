"""Audit trails on directories of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.audit.auditing import Audited


@pytest.fixture
def audited(tmp_path: Path) -> Callable[..., Audited]:
    return lambda **settings: Audited(tmp_path / "audit", **settings)
