"""The one store of an installation: chosen here, for all that its processes share."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.background.fork import forks_held_off
from ordinaut_ext_observability.postgresql.url import read_url
from ordinaut_ext_observability.relay.store import RelayStore
from ordinaut_ext_observability.settings.load import Settings
from ordinaut_ext_observability.settings.parts import RelaySettings

_DIGEST_LENGTH = 12
"""Hexadecimal digits that tell the installations on a server or machine apart; they are read by people, too."""

_FOLDER = "ordinaut-observability"
_LOCAL = re.compile(r"(127\.0\.0\.1|::1|local socket):")
"""Names that a machine has for itself: its processes may use different ones."""


class StoreChoice(NamedTuple):
    """The store that was chosen."""

    kind: Literal["redis", "file", "memory"]
    target: str
    """The URL of Redis, or the path of the file. Never shown: a URL may hold a password."""
    installation: str
    note: str
    """Words for people: the store, and why this one."""


def choose_store(settings: Settings) -> StoreChoice:
    """The store that the settings name; all processes of an installation come to the same. Does not connect."""
    relay = settings.relay
    installation = relay.installation
    if installation is None:
        shared = _shared_by_all(settings).encode(errors="surrogateescape")
        installation = hashlib.sha256(shared).hexdigest()[:_DIGEST_LENGTH]
    url = usable_redis_url(relay)
    named = relay.store or ("" if relay.directory is None or url is not None else "file:")
    if named == "memory":
        return StoreChoice("memory", "", installation, "ORDINAUT_OBS_STORE is memory")
    if named.startswith("file:"):
        path = named.removeprefix("file:") or f"{relay.directory}/{installation}.sqlite"
        # A path that begins with a slash is the same for all processes, wherever they were started.
        return StoreChoice("file", os.path.abspath(path), installation, "the file that is set")  # noqa: PTH100
    if url is not None:
        return StoreChoice("redis", url, installation, "the Redis of REDIS_URL")
    if named == "redis":
        return StoreChoice("memory", "", installation, "ORDINAUT_OBS_STORE is redis and REDIS_URL names none")
    folder = _private_folder(relay)
    if folder is None:
        return StoreChoice("memory", "", installation, "no private directory can be made for a file")
    path = str(folder / f"{installation}.sqlite")
    return StoreChoice("file", path, installation, "a file in a private directory of the user")


def opener_of(choice: StoreChoice, clock: Clock) -> Callable[[], RelayStore] | None:
    """The function that opens the store, in each thread that uses it; None for memory, where nothing is shared."""

    def open_store() -> RelayStore:
        # Imported here: in a thread of ours, not while the host starts.
        with forks_held_off():
            if choice.kind == "file":
                from ordinaut_ext_observability.relay.sqlite_store import SqliteRelayStore

                return SqliteRelayStore(choice.target, clock)
            from ordinaut_ext_observability.relay.redis_store import RedisRelayStore

            return RedisRelayStore(choice.target, choice.installation)

    return open_store if choice.kind != "memory" else None


def usable_redis_url(settings: RelaySettings) -> str | None:
    """The URL of a Redis; the host's `memory://` and `disabled://` mean that there is none."""
    url = settings.redis_url.get_secret_value() if settings.redis_url is not None else ""
    return url if url.startswith(("redis://", "rediss://", "unix://")) else None


def _shared_by_all(settings: Settings) -> str:
    """The database's place without user and password, which may differ between processes; else where they work."""
    url = settings.collectors.database_url
    if url is not None:
        with contextlib.suppress(ValueError):
            return _LOCAL.sub("localhost:", read_url(url.get_secret_value()).shown())
    try:
        return os.getcwd()  # noqa: PTH109 - the text is all that is wanted
    except OSError:  # it was deleted
        return ""


def _private_folder(settings: RelaySettings) -> Path | None:
    """A folder of the user's, made where it is missing; the file in it is trusted or not when it is opened."""
    folders = [Path(tempfile.gettempdir()) / f"{_FOLDER}-{os.geteuid()}"]
    with contextlib.suppress(RuntimeError):  # the user has no home
        home = settings.state_home
        folders.insert(0, (Path(home) if home is not None else Path.home() / ".local" / "state") / _FOLDER)
    for folder in folders:
        with contextlib.suppress(OSError, ValueError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.access(folder, os.W_OK | os.X_OK) and folder.lstat().st_uid == os.geteuid():
                return folder
    return None
