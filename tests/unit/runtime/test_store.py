"""Which store an installation has, and under which name: one rule for all of its processes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from ordinaut_ext_observability.background.clock import Clock
from ordinaut_ext_observability.cluster.base import ClusterUnavailableError
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.runtime.store import StoreChoice, choose_store, opener_of
from ordinaut_ext_observability.settings.load import load_settings

DATABASE = "postgresql://app:secret@db.internal:5433/ordinaut"


def test_forked_child_asks_about_its_own_notifications_in_one_store() -> None:
    alerts = Runtime(load_settings()).alerts
    store = alerts.notifications.store
    store.silences()
    opened = store._store
    child = os.fork()
    if child == 0:
        same = alerts.desk.store is alerts.notifications.store
        alerts.desk.silences()
        os._exit(0 if same and store._store is not opened else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def choose(clean_process: pytest.MonkeyPatch) -> Any:
    clean_process.delenv("ORDINAUT_OBS_STORE")

    def run(**environ: str) -> StoreChoice:
        for name, value in environ.items():
            clean_process.setenv(name, value)
        settings = load_settings()
        assert settings.problems == ()
        return choose_store(settings)

    return run


def test_redis_is_taken_where_its_url_is_set(choose: Any) -> None:
    choice = choose(REDIS_URL="redis://:secret@h/0")
    assert (choice.kind, choice.target) == ("redis", "redis://:secret@h/0")
    assert "secret" not in choice.note


@pytest.mark.parametrize("url", ["memory://", "disabled://", None])
def test_without_redis_a_file_in_the_users_state_is_taken(choose: Any, url: str | None) -> None:
    choice = choose(**({} if url is None else {"REDIS_URL": url}))
    folder = Path(os.environ["XDG_STATE_HOME"]) / "ordinaut-observability"
    assert (choice.kind, choice.target) == ("file", str(folder / f"{choice.installation}.sqlite"))
    assert folder.stat().st_mode & 0o777 == 0o700


def test_where_the_users_state_cannot_be_written_the_temporary_directory_is_taken(
    choose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    choice = choose(XDG_STATE_HOME=str(tmp_path / "file"))
    assert choice.target.startswith(f"{tmp_path}/ordinaut-observability-{os.geteuid()}/")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "file"))
    choice = choose()
    assert choice.kind == "memory"
    assert "no private directory" in choice.note


def test_what_is_set_is_taken(choose: Any, tmp_path: Path) -> None:
    assert choose(ORDINAUT_OBS_STORE=f"file:{tmp_path}/x", REDIS_URL="redis://h/0").target == f"{tmp_path}/x"
    assert choose(ORDINAUT_OBS_STORE="redis").kind == "redis"
    assert choose(ORDINAUT_OBS_STORE="memory").kind == "memory"
    choice = choose(ORDINAUT_OBS_STORE="redis", REDIS_URL="memory://")
    assert (choice.kind, "REDIS_URL" in choice.note) == ("memory", True)


def test_directory_of_the_relay_is_where_the_file_is(choose: Any, tmp_path: Path) -> None:
    choice = choose(ORDINAUT_OBS_RELAY_DIR=str(tmp_path / "relay"), ORDINAUT_OBS_INSTALLATION="mine")
    assert (choice.kind, choice.target) == ("file", f"{tmp_path}/relay/mine.sqlite")
    assert choose(REDIS_URL="redis://h/0").kind == "redis"


@pytest.mark.parametrize("value", ["", "file", "file:", "sqlite:x", "Redis", "redis://h/0", "memory:"])
def test_store_of_another_kind_is_a_problem(clean_process: pytest.MonkeyPatch, value: str) -> None:
    clean_process.setenv("ORDINAUT_OBS_STORE", value)
    settings = load_settings()
    assert settings.relay.store is None
    assert [problem.variable for problem in settings.problems] == ["ORDINAUT_OBS_STORE"] * bool(value)


@pytest.mark.parametrize("name", ["a b", "x/y", "../x", "{x}", "x" * 65, ".hidden", "ü"])
def test_name_that_is_no_part_of_a_key_is_a_problem(clean_process: pytest.MonkeyPatch, name: str) -> None:
    clean_process.setenv("ORDINAUT_OBS_INSTALLATION", name)
    assert [problem.variable for problem in load_settings().problems] == ["ORDINAUT_OBS_INSTALLATION"]


def test_installation_is_named_by_what_its_processes_share(choose: Any) -> None:
    name = choose(DATABASE_URL=DATABASE).installation
    assert choose(DATABASE_URL=DATABASE.replace("app:secret", "reader:other")).installation == name
    assert choose(DATABASE_URL=DATABASE.replace("postgresql:", "postgresql+psycopg:")).installation == name
    assert choose(DATABASE_URL=DATABASE.replace("/ordinaut", "/other")).installation != name
    assert choose(DATABASE_URL=DATABASE.replace("5433", "5434")).installation != name
    local = {choose(DATABASE_URL=f"postgresql://{host}/x").installation for host in ("localhost", "127.0.0.1", "[::1]")}
    assert len(local) == 1
    assert "secret" not in name
    assert choose(ORDINAUT_OBS_INSTALLATION="mine").installation == "mine"


def test_without_a_database_the_working_directory_names_it(
    choose: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = choose().installation
    assert choose().installation == here
    monkeypatch.chdir(tmp_path)
    assert choose().installation != here


@pytest.mark.parametrize("kind", ["device", "link", "pipe", "folder", "writable"])
def test_store_that_somebody_else_may_have_made_is_refused(choose: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "store"
    if kind == "device":
        path = Path("/dev/zero")
    elif kind == "link":
        path.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.touch()
        path.chmod(0o666)
    open_store = opener_of(choose(ORDINAUT_OBS_STORE=f"file:{path}"), Clock())
    assert open_store is not None
    store = open_store()
    with pytest.raises(ClusterUnavailableError):
        store.join("me")
    store.close()
