"""The files of a relay directory: none is ever seen half written."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from ordinaut_ext_observability.relay.base import EPOCHS_KEPT, Retired, StoreUnavailableError

_match_name = re.compile(r"([0-9a-f]{32})\.(\d+)\.(\d+)").fullmatch

_LOCK_ATTEMPTS = 20
_LOCK_WAIT_SECONDS = 0.04
"""Less than a second in all."""


class VectorFile(NamedTuple):
    """What the name of a vector's file says."""

    incarnation: str
    epoch: int
    sequence: int

    @property
    def file_name(self) -> str:
        return f"{self.incarnation}.{self.epoch}.{self.sequence}"


class StoredTotal(NamedTuple):
    """What is in the file of the retired total."""

    store: str
    """The store's identity is in this file, so that whoever deletes the total makes it another store."""
    retired: Retired


class RelayFiles:
    """One directory of a relay: files appear and are replaced by renaming, which other processes see as one step."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vectors = folder / "vectors"
        self.origins = folder / "origins"
        self._temporary = folder / "temporary"
        self._total = folder / "retired"
        self._lock = folder / "lock"
        self._read_total: tuple[tuple[int, int, int], StoredTotal] | None = None

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Makes the directories that are missing; errors of the operating system become those of a store."""
        try:
            self._make_folders()
            yield
        except OSError as error:
            where = error.filename or self.folder
            raise StoreUnavailableError(f"{where}: {error.strerror or 'it vanished'}") from error

    def _make_folders(self) -> None:
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (self.folder, self.vectors, self.origins, self._temporary):
            folder.mkdir(mode=0o700, exist_ok=True)

    def total(self) -> StoredTotal:
        """The identity and the retired total; both are made where there are none."""
        for _ in range(3):
            with contextlib.suppress(FileNotFoundError):
                return self._load_total()
            new = StoredTotal(os.urandom(16).hex(), Retired(0, b"", {}))
            temporary = self.write_temporary(_encode_total(new), time_ns=None)
            try:
                # Unlike a rename it fails where there is one: of several processes that make the store, one wins.
                with contextlib.suppress(FileExistsError):
                    os.link(temporary, self._total)
            finally:
                temporary.unlink(missing_ok=True)
        return self._load_total()

    def _load_total(self) -> StoredTotal:
        with self._total.open("rb") as file:
            status = os.fstat(file.fileno())
            key = (status.st_mtime_ns, status.st_ino, status.st_size)
            known = self._read_total
            if known is not None and known[0] == key:
                return known[1]
            head, _, content = file.read().partition(b"\n")
        try:
            fields = json.loads(head)
            total = StoredTotal(fields["store"], Retired(fields["version"], content, fields["folded"]))
        except (ValueError, KeyError, TypeError):
            # After a loss of power a file may be empty. A store without its total is a new store.
            self._total.unlink(missing_ok=True)
            raise FileNotFoundError from None
        self._read_total = (key, total)
        return total

    def write_total(self, total: StoredTotal) -> Path:
        """A file for `replace_total`."""
        return self.write_temporary(_encode_total(total), time_ns=None)

    def replace_total(self, temporary: Path) -> None:
        temporary.replace(self._total)

    def write_temporary(self, content: bytes, *, time_ns: int | None) -> Path:
        """A new file of this time that nobody else knows; of the present where there is no time."""
        path = self._temporary / os.urandom(16).hex()
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
                file.write(content)
            if time_ns is not None:
                os.utime(path, ns=(time_ns, time_ns))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

    def take(self, path: Path) -> bytes | None:
        """The content of a file, which is removed; None where another process was first."""
        taken = self._temporary / os.urandom(16).hex()
        try:
            path.rename(taken)
        except FileNotFoundError:
            return None
        content = taken.read_bytes()
        taken.unlink()
        return content

    def place(self, temporary: Path, path: Path) -> None:
        """Give a temporary file its name."""
        try:
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise

    def list_vectors(self) -> dict[str, list[VectorFile]]:
        """The files of each incarnation, oldest first."""
        found: dict[str, list[VectorFile]] = {}
        for name in os.listdir(self.vectors):  # noqa: PTH208 - thousands, of which only the names are wanted
            match = _match_name(name)
            if match is not None:
                file = VectorFile(match[1], int(match[2]), int(match[3]))
                found.setdefault(file.incarnation, []).append(file)
        for files in found.values():
            files.sort(key=lambda file: file.sequence)
        return found

    def seen_seconds(self, file: VectorFile) -> float:
        return (self.vectors / file.file_name).stat().st_mtime_ns / 1e9

    def set_seen(self, file: VectorFile, seconds: float) -> None:
        with contextlib.suppress(FileNotFoundError):  # its publisher has newer ones already
            os.utime(self.vectors / file.file_name, ns=(int(seconds * 1e9),) * 2)

    def content(self, file: VectorFile) -> bytes:
        return (self.vectors / file.file_name).read_bytes()

    def remove_vectors(self, files: Iterable[VectorFile]) -> None:
        for file in files:
            (self.vectors / file.file_name).unlink(missing_ok=True)

    def remove_stale(self, before_seconds: float) -> None:
        """Remove what writers left that were killed while they wrote."""
        for path in self._temporary.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < before_seconds:
                    path.unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether the lock could be had within a second: who holds it may have been stopped."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            held = _lock_within_a_second(descriptor)
            try:
                yield held
            finally:
                if held:
                    # Closing is not enough where a child was forked meanwhile.
                    fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)


def current(files: Iterable[VectorFile]) -> list[VectorFile]:
    """Those of an incarnation that no later one took the place of, oldest first.

    A vector takes the place of that of its epoch; and of later ones, where the clock went back.
    """
    kept: list[VectorFile] = []
    for file in sorted(files, key=lambda file: file.sequence, reverse=True):
        if not kept or file.epoch < kept[-1].epoch:
            kept.append(file)
    return kept[::-1]


def needless(files: list[VectorFile], epoch: int) -> list[VectorFile]:
    """What readers of this epoch do not need, of an incarnation's files, oldest first.

    The last but one is always kept: a listing that is made while the last one appears may lack that one.
    """
    needed = current(files)
    while len(needed) > 1 and needed[1].epoch <= epoch - EPOCHS_KEPT:
        del needed[0]
    return [file for file in files[:-2] if file not in needed]


def newest_sequences(listed: Mapping[str, list[VectorFile]]) -> dict[str, int]:
    return {incarnation: files[-1].sequence for incarnation, files in listed.items()}


def _lock_within_a_second(descriptor: int) -> bool:
    for _ in range(_LOCK_ATTEMPTS):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_LOCK_WAIT_SECONDS)
        else:
            return True
    return False


def _encode_total(total: StoredTotal) -> bytes:
    retired = total.retired
    head = {"store": total.store, "version": retired.version, "folded": dict(retired.folded)}
    return json.dumps(head).encode() + b"\n" + retired.content
