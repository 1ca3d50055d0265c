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

    records: int = 0
    first: str = ""
    last: str = ""
    """Instants of the first and the last record."""
    end: str = ""
    """Words for how it ended."""
    next_sequence: int = 0
    last_hash: str = ""


class Verification:
    """The result of a check: chains by name, and a problem for each line that is not as it was written."""

    def __init__(self, paths: Iterable[Path], key: bytes) -> None:
        """Raises OSError where a file cannot be read."""
        self.chains: dict[str, CheckedChain] = {}
        self.problems: list[str] = []
        """Words that begin with the file, and the line where it is one."""
        self._key = key
        self._hashes: dict[str, set[str]] = {}
        self._openings: list[tuple[Path, dict[str, Any]]] = []
        for path in sorted(paths, key=lambda path: path.name.split("-")[2:]):  # by chain, then by its first record
            self._read_file(path)
        removed_at = max((each["timestamp"] for _, each in self._openings if each["fields"]["removed"]), default="")
        for path, opening in self._openings:
            for named in opening["fields"]["files"]:
                self._check_named(path, named, may_be_removed=opening["timestamp"] < removed_at)

    def _read_file(self, path: Path) -> None:
        _, _, name, first = path.stem.split("-")
        chain = self.chains.setdefault(name, CheckedChain(next_sequence=int(first)))
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
            chain.records += 1
            chain.next_sequence, chain.last_hash = sequence + 1, written
            chain.first, chain.last = chain.first or record["timestamp"], record["timestamp"]
            chain.end = "closed" if record["event_type"] == "chain_closed" else "no closing record: runs, or was killed"
            if record["event_type"] == "file_opened":
                self._openings.append((path, record))
        if torn:
            chain.end = f"torn last line of {len(torn)} bytes: killed while it wrote"

    def _check_named(self, path: Path, named: dict[str, Any], *, may_be_removed: bool) -> None:
        """Check a file that a later one names with its last hash at that time."""
        name = named["file"]
        if name in self._hashes:
            if named.get("hash") not in (None, *self._hashes[name]):
                self.problems.append(f"{path.with_name(name)}: its end is missing, which {path.name} names")
            if "torn_bytes" in named:
                self.chains[name.split("-")[2]].end = f"killed while it wrote; {named['torn_bytes']} bytes taken off"
        elif not may_be_removed and not path.with_name(name).exists():
            self.problems.append(f"{path.with_name(name)}: the file is missing, which {path.name} names")
