"""Security events in hash-chained files: lines of JSON, each ending in a hash over all before it and the previous hash.

`Chain` writes them; `Verification` says which lines were removed, changed, inserted or put in another order.

No file stays open: a host that closes descriptors, or forks, takes nothing from us, nor we from it.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import re
import secrets
import stat
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ordinaut_ext_observability.background.clock import wall_seconds
from ordinaut_ext_observability.logs.events import add_context, timestamp
from ordinaut_ext_observability.scrub.plain_values import encode
from ordinaut_ext_observability.scrub.text import mask_details
from ordinaut_ext_observability.settings.parts import AuditSettings

FILES = "audit-*-*-*.jsonl"
"""Names of the files, of which the oldest is the first: when begun, process, chain, number of the first record."""
_TAIL_BYTES = 256 * 1024  # holds the last record of a file, whatever was logged
_NAME = re.compile(r"audit-.+-\w{16}-\d+\.jsonl")
_RECORD = re.compile(
    r'\{"chain":"(\w{16})","sequence":(\d{1,15}),"previous":"(\w{64})","timestamp":"([\w:.-]+)","event_type":"(\w+)",.*'
    r'"fields":(.*)\}'
)


def make_line(event_type: str, fields: Mapping[str, object]) -> str:
    """A record without its place in a chain; its fields are plain and masked."""
    ids: dict[str, object] = {}
    add_context(ids)
    record = {"timestamp": timestamp(wall_seconds()), "event_type": event_type, **mask_details(ids), "fields": fields}
    return encode(record).decode()


def digest(body: bytes, key: bytes) -> str:
    """SHA-256 in hexadecimal; with a key HMAC-SHA-256, which nobody can compute without it."""
    return hmac.digest(key, body, "sha256").hex() if key else hashlib.sha256(body).hexdigest()


def split_hash(line: bytes) -> tuple[bytes, str]:
    """The part of a record that is hashed, and the hash that stands in it."""
    body, _, end = line.rpartition(b',"hash":"')
    return body + b"}", end.removesuffix(b'"}').decode("ascii", "replace")


class Chain:
    """The chain of one process, used by one thread. Nothing is made or read before the first record."""

    def __init__(self, settings: AuditSettings) -> None:
        self._settings = settings
        self._key = settings.key.get_secret_value().encode() if settings.key is not None else b""
        self._id = secrets.token_hex(8)
        self.length, self._last_hash = 0, "0" * 64
        self._path, self._size = Path(settings.directory or ""), 0

    def append(self, lines: list[str]) -> None:
        """Append the lines and wait for the disk. Raises OSError where that failed: none of them is in the chain."""
        with suppress(OSError):  # a file that is full, or not as we left it, is left alone: the next goes on
            status = self._path.lstat()
            if stat.S_ISREG(status.st_mode) and 0 < status.st_size == self._size < self._settings.file_bytes:
                self._write(self._path, lines)
                return
        directory = Path(self._settings.directory or "")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = directory.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise PermissionError("the directory must be this user's, no link, and writable by nobody else")
        begun = timestamp(wall_seconds()).replace(":", "")
        path, self._size = directory / f"audit-{begun}-{os.getpid()}-{self._id}-{self.length:09}.jsonl", 0
        self._write(path, [*self._opening(directory), *lines])
        self._path = path

    def _write(self, path: Path, lines: list[str]) -> None:
        """Append to a file of our size, 0 for a new one. What cannot be written as a whole is taken back."""
        data, length, last_hash = b"", self.length, self._last_hash
        for line in lines:
            body = f'{{"chain":"{self._id}","sequence":{length},"previous":"{last_hash}",{line[1:]}'.encode()
            length, last_hash = length + 1, digest(body, self._key)
            data += b'%s,"hash":"%s"}\n' % (body[:-1], last_hash.encode())
        with open(path, "ab", buffering=0, opener=_open_private) as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            sent = 0
            try:
                while sent < len(data):
                    sent += file.write(data[sent:])
                os.fdatasync(file.fileno())
            except OSError:
                file.truncate(self._size)
                if not self._size:  # empty files would push out those that are kept
                    path.unlink()
                raise
        self.length, self._last_hash, self._size = length, last_hash, self._size + len(data)

    def _opening(self, directory: Path) -> list[str]:
        """The first records of a file: who writes it, and of which others a torn line was taken off. Old ones go."""
        paths = sorted(path for path in directory.glob(FILES) if path.is_file() and not path.is_symlink())
        excess = max(0, len(paths) + 1 - self._settings.files)
        for path in paths[:excess]:
            path.unlink(missing_ok=True)
        mended = [{"file": path.name, "torn_bytes": torn} for path in paths[excess:] if (torn := _mend(path))]
        return [
            make_line("file_opened", {"process": os.getpid()}),
            *(make_line("file_mended", each) for each in mended),
        ]


def _mend(path: Path) -> int:
    """Take off a torn last line, of a process that was killed while it wrote; the number of its bytes."""
    with suppress(OSError), open(path, "r+b", buffering=0, opener=_open_private) as file:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails while its process writes
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        torn = len(file.read().rpartition(b"\n")[2])
        file.truncate(size - torn)
        return torn
    return 0


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


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
