"""SQLAlchemy engines on a real PostgreSQL: what they do stays as it was, and is counted."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy
from sqlalchemy import BigInteger, Column, DateTime, create_engine, func, text
from sqlalchemy.dialects.postgresql import UUID as PgUUID
from sqlalchemy.orm import DeclarativeBase, Session

from ordinaut_ext_observability.db.engine_events import EngineEvents, instrument_engines

SECRET = "s3cr3t-argument"


class Base(DeclarativeBase):
    pass


class DueWork(Base):
    """As the host declares it."""

    __tablename__ = "due_work"
    id = Column(BigInteger, primary_key=True, autoincrement=True)
    task_id = Column(PgUUID(as_uuid=True), nullable=False)
    run_at = Column(DateTime(timezone=True), nullable=False)
    created_at = Column(DateTime(timezone=True), nullable=False, server_default=func.now())


NOW = datetime(2026, 1, 1, tzinfo=UTC)
INSERT = "INSERT INTO due_work (task_id, run_at) VALUES (:task_id, :run_at) ON CONFLICT DO NOTHING RETURNING id"


@pytest.fixture
def tasks(postgres_server: Any, database_url: str) -> list[UUID]:
    """Tasks that work can be queued for."""
    ids = [uuid4() for _ in range(3)]
    name = database_url.rsplit("/", 1)[1].split("?")[0]
    rows = ", ".join(f"('{task}', 't', 'd', a.id, 'once', '{{}}')" for task in ids)
    postgres_server.run_sql("INSERT INTO agent (name, scopes) VALUES ('a', '{}')", name)
    columns = "id, title, description, created_by, schedule_kind, payload"
    values = rows.replace("a.id", "(SELECT id FROM agent)")
    postgres_server.run_sql(f"INSERT INTO task ({columns}) VALUES {values}", name)
    return ids


@pytest.fixture
def queued() -> list[str]:
    return []


@pytest.fixture
def events(measured: Any, queued: list[str]) -> Iterator[EngineEvents]:
    events = instrument_engines(measured.database, queued.append)
    assert events is not None
    yield events
    events.remove()


@pytest.fixture
def engine(database_url: str, events: EngineEvents) -> Iterator[sqlalchemy.Engine]:
    engine = create_engine(
        database_url.replace("postgresql://", "postgresql+psycopg://"), pool_pre_ping=True, pool_size=3, max_overflow=2
    )
    yield engine
    engine.dispose()


@pytest.fixture
def with_async_engine(database_url: str, events: EngineEvents) -> Callable[[Callable[[Any], Awaitable[Any]]], None]:
    pytest.importorskip("greenlet", reason="SQLAlchemy's asyncio needs it")
    from sqlalchemy.ext.asyncio import create_async_engine

    def run(work: Callable[[Any], Awaitable[Any]]) -> None:
        async def main() -> None:
            engine = create_async_engine(
                database_url.replace("postgresql://", "postgresql+asyncpg://"), pool_pre_ping=True
            )
            try:
                await asyncio.wait_for(work(engine), 20)
            finally:
                await engine.dispose()

        asyncio.run(main())

    return run


def test_engine_statements_errors_and_transactions(engine: sqlalchemy.Engine, measured: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_sleep(0.02) FROM (SELECT 1) x"))
        connection.execute(text("SELECT * FROM task WHERE title = :title"), {"title": SECRET})
        connection.execute(
            text("INSERT INTO agent (name, scopes) VALUES (:n, '{}')"), [{"n": "a"}, {"n": "b"}, {"n": "c"}]
        )
    with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
        connection.execute(text("INSERT INTO agent (name, scopes) VALUES ('a', '{}')"))
    with pytest.raises(sqlalchemy.exc.ProgrammingError), engine.connect() as connection:
        connection.execute(text("SELECT * FROM missing"))
    counted = measured.statements()
    assert counted["select", "task"] == 1
    assert counted["insert", "agent"] == 2
    assert counted["select", "missing"] == 1
    assert measured.seconds("select", "") >= 0.02
    assert measured.errors() == {
        ("insert", "agent", "UniqueViolation"): 1,
        ("select", "missing", "UndefinedTable"): 1,
    }
    assert measured.transactions()[0] >= 1
    assert measured.transactions()[1] >= 2
    assert measured.internal_errors() == 0


def test_async_engine(with_async_engine: Any, measured: Any) -> None:
    async def work(engine: Any) -> None:
        async with engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO agent (name, scopes) VALUES (:n, '{}')"), [{"n": "a"}, {"n": "b"}]
            )
            assert measured.pools()["async", "used"] == 1
        with pytest.raises(sqlalchemy.exc.IntegrityError):
            async with engine.begin() as connection:
                await connection.execute(text("INSERT INTO agent (name, scopes) VALUES ('a', '{}')"))
        async with engine.connect() as connection:
            task = asyncio.create_task(connection.execute(text("SELECT pg_sleep(30)")))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    with_async_engine(work)
    assert measured.statements()["insert", "agent"] == 2
    assert measured.errors() == {
        ("insert", "agent", "UniqueViolationError"): 1,
        ("select", "", "CancelledError"): 1,
    }
    assert measured.internal_errors() == 0


def test_pools_of_engines_are_read_at_scrapes(engine: sqlalchemy.Engine, measured: Any) -> None:
    with engine.connect(), engine.connect():
        assert measured.pools() == {("sync", "size"): 2, ("sync", "idle"): 0, ("sync", "used"): 2, ("sync", "max"): 5}
    assert measured.pools()["sync", "idle"] == 2
    engine.dispose()
    with engine.connect():
        assert measured.pools()["sync", "size"] == 1


def test_engine_of_a_server_that_is_not_there(
    free_port: Callable[[], int], events: EngineEvents, measured: Any
) -> None:
    engine = create_engine(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(sqlalchemy.exc.OperationalError):
        engine.connect()
    assert {labels[:2] for labels in measured.errors()} == {("connect", "")}


def test_engine_with_another_pool(database_url: str, events: EngineEvents, measured: Any) -> None:
    url = database_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, poolclass=sqlalchemy.pool.NullPool)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
        assert measured.pools() == {}
    unlimited = create_engine(url, max_overflow=-1)
    with unlimited.connect():
        assert ("sync", "max") not in measured.pools()
    unlimited.dispose()
    assert measured.internal_errors() == 0


def test_removing_ends_listening_and_it_can_begin_again(
    engine: sqlalchemy.Engine, measured: Any, events: EngineEvents
) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM task"))
        assert measured.statements()["select", "task"] == 1
        events.remove()
        events.remove()
        connection.execute(text("SELECT * FROM task"))
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM task"))
    assert measured.statements()["select", "task"] == 1
    assert measured.pools() == {}
    again = instrument_engines(measured.database)
    assert again is not None
    assert again is not events
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM task"))
    assert measured.statements()["select", "task"] == 2
    again.remove()


def test_two_sets_of_metrics_measure_side_by_side(
    engine: sqlalchemy.Engine, measured: Any, other_measured: Any
) -> None:
    events = instrument_engines(other_measured.database)
    assert events is not None
    with engine.connect() as connection:
        connection.execute(text("SELECT * FROM task"))
    events.remove()
    assert measured.statements()["select", "task"] == other_measured.statements()["select", "task"] == 1


def test_failures_of_ours_never_reach_the_engine(
    engine: sqlalchemy.Engine,
    measured: Any,
    events: EngineEvents,
    tasks: list[UUID],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    events.on_queued = broken
    with engine.begin() as connection:
        connection.execute(text(INSERT), {"task_id": tasks[0], "run_at": NOW})
    before = measured.internal_errors()
    assert before == 1
    for name in ("statement", "record", "record_transaction", "watch_pool"):
        monkeypatch.setattr(measured.database, name, broken)
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT count(*) FROM due_work")) == 1
    with pytest.raises(sqlalchemy.exc.ProgrammingError), engine.connect() as connection:
        connection.execute(text("SELECT * FROM missing"))
    assert measured.internal_errors() > before


def test_transactions_end_as_they_would_when_they_cannot_be_counted(
    engine: sqlalchemy.Engine, measured: Any, events: EngineEvents, tasks: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("ours")

    queued: list[str] = []
    events.on_queued = queued.append
    monkeypatch.setattr(measured.database, "record_transaction", broken)
    with engine.begin() as connection:
        connection.execute(text(INSERT), {"task_id": tasks[0], "run_at": NOW})
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM due_work")) == 1
        connection.rollback()
    assert queued == [str(tasks[0])]
    assert measured.internal_errors() == 2


def test_nothing_is_imported_for_a_host_without_sqlalchemy() -> None:
    code = (
        "import sys\n"
        "from ordinaut_ext_observability.db.definitions import DatabaseMetrics\n"
        "from ordinaut_ext_observability.db.engine_events import instrument_engines\n"
        "from ordinaut_ext_observability.metrics.declarations import Metrics\n"
        "from ordinaut_ext_observability.metrics.registry import Registry\n"
        "assert instrument_engines(DatabaseMetrics(Metrics(Registry()))) is None\n"
        "assert not {'sqlalchemy', 'asyncpg'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def work_for(task: UUID) -> DueWork:
    return DueWork(task_id=task, run_at=NOW)


def test_queued_work_of_the_orm(engine: sqlalchemy.Engine, tasks: list[UUID], queued: list[str]) -> None:
    with Session(engine) as session:
        work = work_for(tasks[0])
        session.add(work)
        session.flush()
        assert queued == []
        session.commit()
        assert work.id
        assert queued == [str(tasks[0])]
        session.execute(text("SELECT 1"))
        session.commit()
        assert queued == [str(tasks[0])]
        session.add_all([work_for(task) for task in tasks])
        session.commit()
    assert queued[1:] == [str(task) for task in tasks]


def test_queued_work_in_many_batches(
    engine: sqlalchemy.Engine, tasks: list[UUID], queued: list[str], measured: Any
) -> None:
    with Session(engine) as session:
        session.add_all([work_for(tasks[number % 3]) for number in range(2500)])
        session.commit()
    assert queued == [str(task) for task in tasks]
    assert measured.statements()["insert", "due_work"] == 3


def test_queued_work_of_texts_and_core(engine: sqlalchemy.Engine, tasks: list[UUID], queued: list[str]) -> None:
    first, second, third = map(str, tasks)
    with engine.begin() as connection:
        connection.execute(text(INSERT), {"task_id": first, "run_at": NOW})
    assert queued == [first]
    with engine.begin() as connection:
        many = text("INSERT INTO due_work (task_id, run_at) VALUES (:task_id, :run_at)")
        connection.execute(many, [{"task_id": second, "run_at": NOW}, {"task_id": third, "run_at": NOW}])
    assert queued == [first, second, third]
    queued.clear()
    with engine.begin() as connection:
        connection.execute(
            DueWork.__table__.insert().values([{"task_id": first, "run_at": NOW}, {"task_id": third, "run_at": NOW}])
        )
    assert queued == [first, third]
    queued.clear()
    with engine.begin() as connection:
        connection.exec_driver_sql("INSERT INTO due_work (run_at, task_id) VALUES (%s, %s)", (NOW, second))
        connection.exec_driver_sql(
            "INSERT INTO due_work (run_at, task_id) VALUES (%s, %s)", [(NOW, first), (NOW, third)]
        )
    assert queued == [second, first, third]


def test_work_that_is_not_queued_in_the_end(engine: sqlalchemy.Engine, tasks: list[UUID], queued: list[str]) -> None:
    with Session(engine) as session:
        session.add(work_for(tasks[0]))
        session.flush()
        session.rollback()
        session.execute(text("DELETE FROM due_work WHERE task_id = :task_id"), {"task_id": tasks[0]})
        session.commit()
    with pytest.raises(sqlalchemy.exc.IntegrityError), engine.begin() as connection:
        connection.execute(text(INSERT), {"task_id": uuid4(), "run_at": NOW})
    with engine.connect() as connection:
        connection.execute(text(INSERT), {"task_id": tasks[0], "run_at": NOW})
    with engine.begin() as connection:
        connection.execute(text("CREATE UNIQUE INDEX ON due_work (task_id)"))
        connection.execute(text("INSERT INTO due_work (task_id, run_at) SELECT :t, now()"), {"t": tasks[0]})
    with engine.begin() as connection:
        connection.execute(text(INSERT), {"task_id": tasks[0], "run_at": NOW})
    assert queued == []


def test_queued_work_of_the_async_engine(with_async_engine: Any, tasks: list[UUID], queued: list[str]) -> None:
    async def work(engine: Any) -> None:
        from sqlalchemy.ext.asyncio import AsyncSession

        async with AsyncSession(engine) as session:
            session.add(work_for(tasks[0]))
            await session.commit()
            assert queued == [str(tasks[0])]
            session.add_all([work_for(task) for task in tasks[1:]])
            await session.commit()
            session.add(work_for(tasks[0]))
            await session.flush()
            await session.rollback()
        assert queued == [str(task) for task in tasks]
        queued.clear()
        async with engine.begin() as connection:
            await connection.execute(text(INSERT), {"task_id": tasks[2], "run_at": NOW})
            await connection.exec_driver_sql("INSERT INTO due_work (run_at, task_id) VALUES ($1, $2)", (NOW, tasks[0]))
        assert queued == [str(tasks[2]), str(tasks[0])]

    with_async_engine(work)
