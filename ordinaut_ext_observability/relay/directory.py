"""A relay store in a directory, for processes on one machine, by the machine's clock."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ordinaut_ext_observability.clock import Clock
from ordinaut_ext_observability.relay.base import (
    Published,
    Reading,
    Refused,
    Retired,
    StoredVector,
    StoreUnavailableError,
)
from ordinaut_ext_observability.relay.directory_files import (
    RelayFiles,
    StoredTotal,
    VectorFile,
    current,
    needless,
    newest_sequences,
)
from ordinaut_ext_observability.relay.directory_origins import DirectoryOrigins

_READ_ATTEMPTS = 10
_PUBLICATIONS_PER_SWEEP = 16


class _Read(NamedTuple):
    seen_seconds: dict[str, float]
    vectors: list[StoredVector]


class DirectoryStore:
    """Vectors in files, for processes of one user on one machine.

    Publishing and reading take no lock: a process that is stopped at any point hinders no other. A fold is done by one
    rename. A reader reads the vectors first and then the total, and leaves out what the total names.
    """

    name = "directory"

    def __init__(
        self, path: str | os.PathLike[str], *, interval_seconds: float, expiry_seconds: float, clock: Clock
    ) -> None:
        """Makes the directory at the first call."""
        self.interval_seconds = interval_seconds
        self._expiry_seconds = expiry_seconds
        self._clock = clock
        self._files = RelayFiles(Path(path) / str(round(interval_seconds * 1000)))
        self._origins = DirectoryOrigins(self._files, clock)

    def publish(
        self, incarnation: str, sequence: int, content: bytes, *, last_store: str, fenced: bool = False
    ) -> Published | Refused:
        if not fenced:
            return self._publish(incarnation, sequence, content, last_store)
        with self._files.prepared(), self._files.locked() as held:
            if not held:
                raise StoreUnavailableError(f"{self._files.folder}: another process holds the lock")
            stored = max((file.sequence for file in self._files.list_vectors().get(incarnation, ())), default=0)
            if stored >= sequence:
                return Refused(self._files.total().store, self._clock.wall(), stored)
            return self._publish(incarnation, sequence, content, last_store)

    def _publish(self, incarnation: str, sequence: int, content: bytes, last_store: str) -> Published | Refused:
        with self._files.prepared():
            # As readers: listed first, so that whatever a fold removed before is named in the total.
            listed = self._files.list_vectors()
            store, retired = self._files.total()
            unknown = last_store == store and incarnation not in listed
            if unknown or incarnation in retired.folded:
                return Refused(store, self._clock.wall(), retired.folded.get(incarnation))
            written = self._store(listed.get(incarnation, []), incarnation, sequence, content)
            # Folded meanwhile: what was just written is in no sum.
            store, retired = self._files.total()
            if incarnation in retired.folded:
                self._files.remove_vectors([written])
                return Refused(store, self._clock.wall(), retired.folded[incarnation])
            if sequence % _PUBLICATIONS_PER_SWEEP == 0:
                self._sweep()
            return Published(store, self._clock.wall(), self._silent(listed, retired, but=incarnation))

    def read(self, known_epochs: Mapping[str, int], *, store: str, retired_version: int) -> Reading:
        contents: dict[VectorFile, bytes] = {}
        with self._files.prepared():
            for _ in range(_READ_ATTEMPTS):
                before = self._files.total()
                now = self._clock.wall()
                known_here = known_epochs if before.store == store else {}
                read = self._read_vectors(known_here, self._epoch(now), contents)
                total = self._files.total()
                if read is not None and total.store == before.store:
                    break
            else:
                raise StoreUnavailableError(f"{self._files.folder}: changes faster than it can be read")
        folded = total.retired.folded
        known = total.store == store and total.retired.version == retired_version
        return Reading(
            store=total.store,
            now_seconds=now,
            seen_seconds={name: seen for name, seen in read.seen_seconds.items() if name not in folded},
            vectors=tuple(vector for vector in read.vectors if vector.incarnation not in folded),
            retired=None if known else total.retired,
        )

    def fold(self, *, store: str, expected_version: int, retired: Retired, folding: Mapping[str, int]) -> bool:
        with self._files.prepared():
            with self._files.locked() as held:
                done = held and self._fold(store, expected_version, retired, folding)
            if done:
                self._sweep()
        return done

    def seed(self, *, store: str, retired: Retired, vectors: Iterable[StoredVector], seen: Mapping[str, float]) -> None:
        with self._files.prepared(), self._files.locked() as held:
            if not held:
                raise StoreUnavailableError(f"{self._files.folder}: another process holds the lock")
            total = self._files.total()
            if total.store != store:
                return
            if retired.version > total.retired.version:
                self._files.replace_total(self._files.write_total(StoredTotal(store, retired)))
            self._remove_folded({})
            self._seed_vectors(vectors, seen)

    def push_origin(self, task_id: str, content: bytes, *, ttl_seconds: float) -> None:
        with self._files.prepared():
            self._origins.push(task_id, content, ttl_seconds=ttl_seconds)

    def pop_origin(self, task_id: str) -> bytes | None:
        with self._files.prepared():
            return self._origins.pop(task_id)

    def hold_lease(self, owner: str, ttl_seconds: float) -> bool:
        with self._files.prepared(), self._files.locked() as held:
            if not held:
                raise StoreUnavailableError(f"{self._files.folder}: another process holds the lock")
            now = self._clock.wall()
            path = self._files.folder / "lease"
            try:
                holder, _, deadline = path.read_text().partition(" ")
                free = holder == owner or float(deadline) <= now
            except (FileNotFoundError, ValueError):
                free = True
            if free:
                content = f"{owner} {now + ttl_seconds}".encode()
                self._files.place(self._files.write_temporary(content, time_ns=None), path)
            return free

    def close(self) -> None:
        """Nothing is open between calls."""

    def _sweep(self) -> None:
        # What was done is done, whether or not this can be.
        with contextlib.suppress(OSError):
            self._files.remove_stale(self._clock.wall() - self._expiry_seconds)
            self._origins.sweep()

    def _epoch(self, now_seconds: float) -> int:
        return int(now_seconds / self.interval_seconds)

    def _store(self, files: list[VectorFile], incarnation: str, sequence: int, content: bytes) -> VectorFile:
        temporary = self._files.write_temporary(content, time_ns=int(self._clock.wall() * 1e9))
        # Not before the content is written: an epoch must not have ended when a vector appears in it.
        epoch = self._epoch(self._clock.wall())
        written = VectorFile(incarnation, epoch, sequence)
        self._files.place(temporary, self._files.vectors / written.file_name)
        self._files.remove_vectors(needless([*files, written], epoch))
        return written

    def _silent(self, listed: Mapping[str, list[VectorFile]], retired: Retired, but: str) -> int:
        oldest = self._clock.wall() - 2 * self._expiry_seconds
        return sum(
            self._seen_seconds(files) < oldest
            for incarnation, files in listed.items()
            if incarnation != but and incarnation not in retired.folded
        )

    def _seen_seconds(self, files: list[VectorFile]) -> float:
        try:
            return self._files.seen_seconds(files[-1])
        except FileNotFoundError:  # it just published again, or was folded
            return self._clock.wall()

    def _read_vectors(
        self, known_epochs: Mapping[str, int], epoch: int, contents: dict[VectorFile, bytes]
    ) -> _Read | None:
        """None where a file vanished: a publisher may have pruned it after it wrote another that was not listed.

        `contents` are those of earlier attempts, so that each attempt reads only what is new.
        """
        read = _Read({}, [])
        try:
            for incarnation, files in self._files.list_vectors().items():
                read.seen_seconds[incarnation] = self._files.seen_seconds(files[-1])
                after = known_epochs.get(incarnation, -1)
                if after > epoch:  # the clock went back: what is new has lower epochs than what is known
                    after = -1
                for file in current(files):
                    if file.epoch <= after:
                        continue
                    if file not in contents:
                        contents[file] = self._files.content(file)
                    read.vectors.append(StoredVector(incarnation, file.sequence, file.epoch, contents[file]))
        except FileNotFoundError:
            return None
        return read

    def _fold(self, store: str, expected_version: int, retired: Retired, folding: Mapping[str, int]) -> bool:
        total = self._files.total()
        if total.store != store or total.retired.version != expected_version:
            return False
        temporary = self._files.write_total(StoredTotal(store, retired))
        try:
            # Looked at last, so that hardly any time is left in which one could publish.
            newest = newest_sequences(self._files.list_vectors())
            if any(newest.get(incarnation) != sequence for incarnation, sequence in folding.items()):
                return False
            self._files.replace_total(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        self._remove_folded(folding)
        return True

    def _remove_folded(self, folding: Mapping[str, int]) -> None:
        """Also those that were left by a process killed in the middle of this."""
        folded = self._files.total().retired.folded
        for incarnation, files in self._files.list_vectors().items():
            if incarnation in folded or incarnation in folding:
                self._files.remove_vectors(files)

    def _seed_vectors(self, vectors: Iterable[StoredVector], seen: Mapping[str, float]) -> None:
        folded = self._files.total().retired.folded
        newest = newest_sequences(self._files.list_vectors())
        for vector in sorted(vectors, key=lambda vector: vector.sequence):
            incarnation = vector.incarnation
            if incarnation in folded or vector.sequence <= newest.get(incarnation, 0):
                continue
            temporary = self._files.write_temporary(vector.content, time_ns=int(self._clock.wall() * 1e9))
            file = VectorFile(incarnation, vector.epoch, vector.sequence)
            self._files.place(temporary, self._files.vectors / file.file_name)
            # Not while it is temporary: it would look as if a killed writer had left it.
            self._files.set_seen(file, seen.get(incarnation, 0))
            newest[incarnation] = vector.sequence
