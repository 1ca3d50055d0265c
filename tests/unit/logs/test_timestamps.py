"""Pieces of a log line: instants, texts, whole lines for events."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ordinaut_ext_observability.logs.events import timestamp
from ordinaut_ext_observability.scrub.plain_values import MAX_TEXT_LENGTH, json_text


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (0.5, "1970-01-01T00:00:00.500Z"),
        (1.25, "1970-01-01T00:00:01.250Z"),
        (seconds("2026-11-23T22:19:04") + 0.125, "2026-11-23T22:19:04.125Z"),
        (seconds("2024-02-29T23:59:59") + 0.9990234375, "2024-02-29T23:59:59.999Z"),
        (seconds("2100-01-01T00:00:00"), "2100-01-01T00:00:00.000Z"),
    ],
)
def test_instants_are_in_utc_with_milliseconds(instant: float, text: str) -> None:
    assert timestamp(instant) == text


@pytest.mark.parametrize("millisecond", [1, 123, 124, 299, 998, 999])
def test_whole_milliseconds_are_printed_as_they_are(millisecond: int) -> None:
    assert timestamp(1763936344 + millisecond / 1000) == f"2025-11-23T22:19:04.{millisecond:03d}Z"


def test_the_last_instant_of_a_second_is_not_rounded_into_the_next() -> None:
    assert timestamp(1763936344.9999998) == "2025-11-23T22:19:04.999Z"


def test_seconds_roll_over_forwards_and_back() -> None:
    """The text of the second is kept; the clock may also be set back."""
    second = seconds("2026-12-31T23:59:59")
    texts = [timestamp(instant) for instant in (second, second + 0.75, second + 1.25, second + 0.5)]
    assert texts == [
        "2026-12-31T23:59:59.000Z",
        "2026-12-31T23:59:59.750Z",
        "2027-01-01T00:00:00.250Z",
        "2026-12-31T23:59:59.500Z",
    ]


def test_texts_sort_as_their_instants_do() -> None:
    start = seconds("2026-11-23T22:19:04")
    texts = [timestamp(start + step / 64) for step in range(300)]
    assert texts == sorted(texts)


@pytest.mark.parametrize("text", ["", "plain", 'a"b', "a\\b", "a\nb\r\t\x00\x1f", "</script>", "é日本😀", "\u2028\x7f"])
def test_a_text_is_one_json_string_that_reads_back(text: str) -> None:
    encoded = json_text(text)
    assert json.loads(encoded) == text
    assert "\n" not in encoded


@pytest.mark.parametrize(
    ("text", "readable"), [("\ud800", "\\ud800"), ("a\udcffb", "a\\udcffb"), ("é\udfff😀", "é\\udfff😀")]
)
def test_lone_surrogates_are_replaced(text: str, readable: str) -> None:
    assert json.loads(json_text(text)) == readable


def test_long_text_is_cut() -> None:
    assert json.loads(json_text("x" * MAX_TEXT_LENGTH)) == "x" * MAX_TEXT_LENGTH
    assert json.loads(json_text("x" * (MAX_TEXT_LENGTH + 1))) == "x" * MAX_TEXT_LENGTH + "…"
    assert json.loads(json_text("é😀" * 100_000)) == "é😀" * (MAX_TEXT_LENGTH // 2) + "…"


def test_long_text_with_a_lone_surrogate_is_cut_and_reads_back() -> None:
    text = json.loads(json_text("\ud800" + "x" * 3000))
    assert text.startswith("\\ud800xxx")
    assert text.endswith("x…")


def controls(*ranges: tuple[int, int]) -> list[str]:
    return [chr(code) for first, last in ranges for code in range(first, last + 1)]


@pytest.mark.parametrize(
    "character",
    controls((0x00, 0x1F), (0x7F, 0x9F), (0x61C, 0x61C), (0x200E, 0x200F), (0x2028, 0x202E), (0x2066, 0x2069)),
    ids=lambda character: f"U+{ord(character):04X}",
)
def test_controls_are_escaped_and_read_back(character: str) -> None:
    for text in (character, f"a{character}b", f"é{character}\\{character}😀"):
        line = json_text(text)
        assert character not in line
        assert line.splitlines() == [line]
        assert json.loads(line) == text


@pytest.mark.parametrize("text", ["~é ¡", "\u200d", "\u2010\u2027 \u202f", "\u2065 \u206a", "日本😀", "\u061b\u061d"])
def test_other_characters_stay_as_they_are(text: str) -> None:
    assert json_text(text) == f'"{text}"'
