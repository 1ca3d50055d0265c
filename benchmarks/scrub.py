"""The scrubber with all its kinds, against the seed's four patterns: a clean message, one full of ids, hostile ones.

Cost is processor time. The hostile texts are 10 kB of what makes a pattern start anew at each character.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Callable

from benchmarks.harness import Options, Result, cpu_seconds_of, low, microseconds, take_turns, versions
from ordinaut_ext_observability.scrub.scrubber import Scrubber

SEED_PATTERNS = (
    ("EMAIL", re.compile(r"\b[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Z|a-z]{2,}\b")),
    ("PHONE", re.compile(r"\b\d{3}-\d{3}-\d{4}\b")),
    ("SSN", re.compile(r"\b\d{3}-\d{2}-\d{4}\b")),
    ("CREDIT_CARD", re.compile(r"\b\d{4}[\s-]?\d{4}[\s-]?\d{4}[\s-]?\d{4}\b")),
)
_CLEAN = (
    "the worker has finished a step of the pipeline, and took a little while to do so since the queue was long; " * 3
)
_IDS = " ".join(
    f"{uuid.UUID(int=number * 0x9E3779B97F4A7C15F39CC0605CEDC834 % 2**128)} {1732400000123456 + number} 17324000001.23 "
    f"{hashlib.sha256(b'%d' % number).hexdigest()} 2026-11-23T22:19:04.{number:03d}Z 10.0.0.{number}"
    for number in range(2)
)

TEXTS = {
    "scrub_clean": (_CLEAN[:300], 2000),
    "scrub_ids": (_IDS, 2000),
    "scrub_hostile_dots": ("a." * 5000, 1),
    "scrub_hostile_hyphens": ("123-" * 2500, 1),
}
"""The texts by their budgets, and how often each is scrubbed in a round."""


def run(options: Options) -> list[Result]:
    scrubber = Scrubber()
    results = []
    for budget, (text, times) in TEXTS.items():
        if scrubber.text(text) != text:
            raise RuntimeError(f"{budget}: something was found")
        often = times if times > 1 else 50
        candidates = {"ours": _repeated(scrubber.text, text, often), "peer": _repeated(seed_text, text, times)}
        figures = take_turns({name: cpu_seconds_of(work) for name, work in candidates.items()}, options.pick(8, 25))
        ours, peer = low(figures["ours"]) / often, low(figures["peer"]) / times
        results.append(
            Result(budget, microseconds(ours), microseconds(peer), ours / peer, f"the seed's; {versions('google-re2')}")
        )
    return results


def seed_text(text: str) -> str:
    for name, pattern in SEED_PATTERNS:
        text = pattern.sub(f"[REDACTED_{name}]", text)
    return text


def _repeated(scrub: Callable[[str], str], text: str, times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            scrub(text)

    return work
