"""The check of audit files: which lines were removed, changed, inserted or put in another order."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from ordinaut_ext_observability.audit.chain import digest, split_hash

_NAME = re.compile(r"audit-.+-\w{16}-\d+\.jsonl")
_RECORD = re.compile(
    r'\{"chain":"(\w{16})","sequence":(\d{1,15}),"previous":"(\w{64})","timestamp":"([\w:.-]+)","event_type":"(\w+)",.*'
    r'"fields":(.*)\}'
)


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
    """The result of a check: chains by name; problems and notes in words that begin with file and line."""

    def __init__(self, paths: Collection[Path], key: bytes) -> None:
        """Raises OSError where a file cannot be read, ValueError where its name is not that of an audit file."""
        self.chains: dict[str, CheckedChain] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self._key = key
        if others := [str(path) for path in paths if not _NAME.fullmatch(path.name)]:
            raise ValueError(f"{others[0]} is no directory, and has no name of an audit file")
        for path in sorted(paths, key=lambda path: path.stem.rsplit("-", 2)[1:]):  # by chain, then by its first record
            self._read_file(path)

    def _read_file(self, path: Path) -> None:
        _, name, first = path.stem.rsplit("-", 2)
        if name not in self.chains and int(first):
            self.notes.append(f"{path}: the oldest file of its chain here, whose records before {int(first)} are gone")
        chain = self.chains.setdefault(name, CheckedChain(int(first)))
        *lines, torn = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            self._read_record(line, name, chain, f"{path}:{number}")
        if torn:
            self.notes.append(f"{path}: torn last line of {len(torn)} bytes: its process was killed while it wrote")

    def _read_record(self, line: bytes, name: str, chain: CheckedChain, place: str) -> None:
        body, written = split_hash(line)
        match = _RECORD.fullmatch(body.decode("utf-8", "replace"))
        if match is None or digest(body, self._key) != written:
            self.problems.append(f"{place}: changed or inserted: its hash is not that of its content")
            return
        chain_name, digits, previous, instant, event_type, fields = match.groups()
        sequence, expected = int(digits), chain.next_sequence
        if sequence > expected:
            self.problems.append(f"{place}: records {expected} to {sequence - 1} are missing before it")
        elif sequence < expected or chain_name != name or chain.last_hash not in ("", previous):
            self.problems.append(f"{place}: inserted, repeated or in another order: record {sequence}")
        elif place.endswith(":1") and event_type != "file_opened":
            self.problems.append(f"{place}: records are missing before it: this one begins no file")
        chain.records, chain.next_sequence, chain.last_hash = chain.records + 1, sequence + 1, written
        chain.first_instant, chain.last_instant = chain.first_instant or instant, instant
        chain.end = "closed" if event_type == "chain_closed" else "no closing record: runs, or was killed"
        if event_type in ("file_mended", "records_missing"):
            self.notes.append(f"{place}: {event_type} {fields}")
