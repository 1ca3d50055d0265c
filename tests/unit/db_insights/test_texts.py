"""Sizes, times and database URLs as they are shown."""

from __future__ import annotations

import pytest

from ordinaut_ext_observability.db.insights.quantities import bytes_text, duration_text
from ordinaut_ext_observability.db.insights.session import NoConnectionError, shown_target


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 kB"), (10 * 2**20, "10 MB"), (3 * 2**50, "3072 TB")],
)
def test_bytes(number: int, text: str) -> None:
    assert bytes_text(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 ms"), (0.0000042, "4 µs"), (0.0123, "12 ms"), (2.34, "2.3 s"), (59.6, "1 min"), (61, "1 min 1 s"),
        (7500, "2 h 5 min"), (86400, "1 d"), (86400 * 3 + 7200, "3 d 2 h"), (86400 + 59, "1 d"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("postgresql://u:secret@db:5433/ordinaut", "db:5433/ordinaut"),
        ("postgresql+psycopg://u:secret@db/ordinaut?sslmode=require", "db:5432/ordinaut"),
        ("postgres://db/ordinaut", "db:5432/ordinaut"),
        ("postgresql://u:s%40cret@[::1]:5432/x", "::1:5432/x"),
        ("postgresql:///ordinaut?host=/run/postgresql", "local socket:5432/ordinaut"),
        ("postgresql://u:secret@h1:5432,h2:6432/x", "h1:5432,h2:6432/x"),
        ("postgresql://db/x;secret", "db:5432/?"),
    ],
)
def test_target_is_shown_without_credentials(url: str, target: str) -> None:
    assert shown_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "", "secret", "mysql://u:secret@db/x", "postgresql://u:secret", "postgresql://u:se/secret@db/x",
        "postgresql://u:se@secret@db/x", "postgresql://u:se#secret@db/x", "postgresql://u:se?secret@db/x",
        "postgresql://u:[secret@db/x", "postgresql://u:5?secret@db/x", "postgresql://u:secret@db:port/x",
    ],
)  # fmt: skip
def test_url_that_cannot_be_read_is_not_shown(url: str) -> None:
    with pytest.raises(NoConnectionError) as error:
        shown_target(url)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
