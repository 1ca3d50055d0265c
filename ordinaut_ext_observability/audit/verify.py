"""The check of audit files: which lines were removed, changed, inserted or put in another order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ordinaut_ext_observability.audit.chain import digest, split_hash


@dataclass(slots=True)
class CheckedChain:
    """One process's chain, as far as it was read."""

    next_sequence: int
    last_hash: str = ""
    records: int = 0
    first_instant: str = ""
    last_instant: str = ""
    end: str = "no whole record"


class Verification:
    """The result of a check: chains by name, and words for each problem, which begin with its file and line."""

    def __init__(self, paths: Iterable[Path], key: bytes) -> None:
        """Raises OSError where a file cannot be read."""
        self.chains: dict[str, CheckedChain] = {}
        self.problems: list[str] = []
        self._key = key
        self._hashes: dict[str, set[str]] = {}
        self._openings: list[tuple[Path, Any]] = []
        for path in sorted(paths, key=lambda path: path.name.split("-")[2:]):  # by chain, then by its first record
            self._read_file(path)
        removed_at = max((each["timestamp"] for _, each in self._openings if each["fields"]["removed"]), default="")
        for path, opening in self._openings:
            for named in opening["fields"]["files"]:
                self._check_named(path, named, may_be_removed=opening["timestamp"] < removed_at)

    def _read_file(self, path: Path) -> None:
        _, _, name, first = path.stem.split("-")
        chain = self.chains.setdefault(name, CheckedChain(int(first)))
        hashes = self._hashes[path.name] = set()
        *lines, torn = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            body, written = split_hash(line)
            if digest(body, self._key) != written:
                self.problems.append(f"{path}:{number}: changed or inserted: its hash is not that of its content")
                continue
            record = orjson.loads(line)
            sequence, expected = record["sequence"], chain.next_sequence
            if sequence > expected:
                self.problems.append(f"{path}:{number}: records {expected} to {sequence - 1} are missing before it")
            elif sequence < expected or record["chain"] != name or chain.last_hash not in ("", record["previous"]):
                self.problems.append(f"{path}:{number}: in another order, inserted or repeated: record {sequence}")
            hashes.add(written)
            chain.records, chain.next_sequence, chain.last_hash = chain.records + 1, sequence + 1, written
            chain.last_instant, event_type = record["timestamp"], record["event_type"]
            chain.first_instant = chain.first_instant or chain.last_instant
            chain.end = "closed" if event_type == "chain_closed" else "no closing record: runs, or was killed"
            if event_type == "file_opened":
                self._openings.append((path, record))
        if torn:
            chain.end = f"killed while it wrote: a torn last line of {len(torn)} bytes"

    def _check_named(self, path: Path, named: dict[str, Any], *, may_be_removed: bool) -> None:
        """Check a file that a later one names, with its last hash at that time."""
        place = path.with_name(named["file"])
        if place.name in self._hashes:
            if named.get("hash") not in (None, *self._hashes[place.name]):
                self.problems.append(f"{place}: its end is missing, which {path.name} names")
            if "torn_bytes" in named:
                chain = self.chains[place.name.split("-")[2]]
                chain.end = f"killed while it wrote: {named['torn_bytes']} bytes of a torn line taken off"
        elif not may_be_removed and not place.exists():
            self.problems.append(f"{place}: the file is missing, which {path.name} names")
