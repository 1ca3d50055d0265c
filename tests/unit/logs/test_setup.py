"""Taking over the process's logging, and giving it back exactly; what is not asked for is not touched."""

from __future__ import annotations

import asyncio
import dataclasses
import io
import logging
import logging.config
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ordinaut_ext_observability.logs.setup import LoggingSetup
from ordinaut_ext_observability.runtime import current
from ordinaut_ext_observability.runtime.process import Runtime
from ordinaut_ext_observability.settings.load import load_settings

structlog = pytest.importorskip("structlog")

UVICORN = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "uvicorn.access")


def loggers() -> list[logging.Logger]:
    known = logging.Logger.manager.loggerDict.values()
    return [logging.getLogger(), *(logger for logger in known if isinstance(logger, logging.Logger))]


def state() -> dict[str, Any]:
    """All there is to see of the process's logging."""
    return {
        **{
            logger.name: (list(logger.handlers), logger.level, logger.propagate, logger.disabled, list(logger.filters))
            for logger in loggers()
        },
        "the factory of records": logging.getLogRecordFactory(),
        "the level that is switched off": logging.root.manager.disable,
        "structlog is configured": structlog.is_configured(),
        "structlog": structlog.get_config(),
    }


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    """Puts everything back that a failing test leaves behind."""
    names = [*UVICORN, "", *(f"tests.setup.{name}" for name in ("a", "b", "a.child", "own"))]
    before = {name: logging.getLogger(name) for name in names}
    kept = {
        name: (list(logger.handlers), logger.level, logger.propagate, logger.disabled)
        for name, logger in before.items()
    }
    structlog.reset_defaults()
    logger_class = logging.getLoggerClass()
    yield
    logging.setLoggerClass(logger_class)
    for name, (handlers, level, propagate, disabled) in kept.items():
        logger = before[name]
        logger.handlers[:] = handlers
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
    structlog.reset_defaults()


@pytest.fixture
def setup(log_lines: Any) -> LoggingSetup:
    return LoggingSetup(log_lines.writer)


class HostsHandlers:
    """A host's logging: handlers, levels and propagation of every kind."""

    def __init__(self) -> None:
        self.output = io.StringIO()
        self.handler = logging.StreamHandler(self.output)
        self.other = logging.NullHandler()
        root = logging.getLogger()
        root.handlers[:] = [self.handler, self.other]
        root.setLevel(logging.ERROR)
        for name in UVICORN:
            logger = logging.getLogger(name)
            logger.handlers[:] = [self.handler] if name in ("uvicorn", "uvicorn.access") else []
            logger.propagate = name == "uvicorn.error"
            logger.setLevel(logging.INFO)
        own = logging.getLogger("tests.setup.own")
        own.handlers[:] = [self.other]
        own.propagate = False
        own.setLevel(5)


@pytest.fixture
def host() -> HostsHandlers:
    return HostsHandlers()


def test_import_and_a_runtime_touch_nothing(run_code: Callable[[str], Any]) -> None:
    """Seen from outside: in a process whose logging is the host's. Nothing of structlog or uvicorn is imported."""
    child = run_code("""
import logging, sys
logging.basicConfig(level="WARNING", format="host: %(message)s")
logging.getLogger("uvicorn").addHandler(logging.NullHandler())
def state():
    known = logging.Logger.manager.loggerDict.values()
    every = [logging.root, *(logger for logger in known if isinstance(logger, logging.Logger))]
    return {
        logger.name: (list(logger.handlers), logger.level, logger.propagate, logger.disabled, list(logger.filters))
        for logger in every
    }, logging.getLoggerClass(), logging.getLogRecordFactory(), logging.raiseExceptions, logging.lastResort
before = state()
def check(what):
    now = state()
    for name, how in before[0].items():
        assert now[0][name] == how, (what, name)
    for name in now[0].keys() - before[0].keys():
        assert now[0][name] == ([], 0, True, False, []), (what, name)
    assert now[1:] == before[1:], what
import ordinaut_ext_observability
check("import")
import ordinaut_ext_observability.runtime.current as current
import ordinaut_ext_observability.extension
check("import of all")
runtime = ordinaut_ext_observability.current_runtime()
check("runtime")
runtime.start()
check("start")
from ordinaut_ext_observability.logs.event_types import RELAY_OPEN
runtime.logs.event(RELAY_OPEN, store="memory")
ordinaut_ext_observability.RequestContext("t").__enter__()
check("use")
mine = current.get_logger("mine")
assert mine.handlers and not mine.propagate
assert logging.getLogger("mine.child").handlers == []
mine.handlers, mine.propagate = [], True
mine.setLevel(0)
check("get_logger of another name")
runtime.stop()
current.restore_logging()
check("stop")
assert "structlog" not in sys.modules
""")
    assert child.process.returncode == 0, child.err


def test_a_logger_of_ours_writes_lines_and_passes_nothing_on(
    setup: LoggingSetup, log_lines: Any, host: HostsHandlers
) -> None:
    logger = setup.get_logger("tests.setup.a")
    assert logger is logging.getLogger("tests.setup.a")
    logger.error("mine")
    logging.getLogger("tests.setup.a.child").error("the child's")
    logging.getLogger("tests.setup.b").error("the host's")
    assert log_lines.messages() == ["mine", "the child's"]
    assert host.output.getvalue() == "the host's\n"


def test_asking_for_a_logger_again_writes_no_line_twice(setup: LoggingSetup, log_lines: Any) -> None:
    for _ in range(3):
        setup.get_logger("tests.setup.a")
        setup.get_logger("tests.setup.a.child").info("once")
    setup.get_logger("tests.setup.a").info("once")
    assert log_lines.messages() == ["once"] * 4


def test_the_root_logger_may_be_asked_for(setup: LoggingSetup, log_lines: Any, host: HostsHandlers) -> None:
    assert setup.get_logger("") is setup.get_logger("root") is logging.getLogger()
    setup.get_logger("tests.setup.a").error("a")
    logging.getLogger("tests.setup.b").error("b")
    assert log_lines.messages() == ["a", "b"]


@pytest.mark.parametrize(("own", "expected"), [(logging.NOTSET, logging.WARNING), (logging.DEBUG, logging.DEBUG)])
def test_a_logger_gets_the_level_unless_it_has_one(log_lines: Any, own: int, expected: int) -> None:
    logging.getLogger("tests.setup.a").setLevel(own)
    assert LoggingSetup(log_lines.writer, "WARNING").get_logger("tests.setup.a").level == expected


def test_a_logger_two_runtimes_are_asked_for_writes_no_line_twice(make_log_lines: Callable[[], Any]) -> None:
    one, two = make_log_lines(), make_log_lines()
    LoggingSetup(one.writer).get_logger("tests.setup.a")
    LoggingSetup(two.writer).get_logger("tests.setup.a").info("once")
    assert one.messages() + two.messages() == ["once"]


def test_configured_anything_logged_becomes_one_line(setup: LoggingSetup, log_lines: Any, host: HostsHandlers) -> None:
    setup.get_logger("tests.setup.a")
    setup.configure()
    for name in ("", "tests.setup.a", "tests.setup.a.child", "tests.setup.b", *UVICORN[:3]):
        logging.getLogger(name).info("from %s", name, extra={"user": name})
    setup.get_logger("tests.setup.b").info("again")
    lines = log_lines.all()
    assert [fields["logger"] for fields in lines] == [
        *("root", "tests.setup.a", "tests.setup.a.child", "tests.setup.b", *UVICORN[:3]),
        "tests.setup.b",
    ]
    assert [fields.get("user") for fields in lines][1:3] == ["tests.setup.a", "tests.setup.a.child"]
    assert host.output.getvalue() == ""


def test_uvicorns_records_lose_their_colours_and_its_access_lines_are_ours(
    setup: LoggingSetup, log_lines: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    """With the logging that uvicorn sets up itself."""
    import uvicorn

    uvicorn.Config(app=lambda: None).configure_logging()
    before = state()
    setup.configure()
    logging.getLogger("uvicorn.error").info(
        "Started server process [%d]", 5, extra={"color_message": "Started server process [\x1b[36m%d\x1b[0m]"}
    )
    logging.getLogger("uvicorn.access").info('%s - "%s %s"', "1.2.3.4", "GET", "/")
    fields = log_lines.only()
    assert (fields["message"], "color_message" in fields) == ("Started server process [5]", False)
    setup.restore()
    assert state() == before
    assert capfd.readouterr() == ("", "")


def test_nothing_of_uvicorns_access_log_comes_through(
    setup: LoggingSetup, log_lines: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    setup.configure()
    logging.getLogger("uvicorn.access").error("gone")
    assert log_lines.texts() == []
    assert capfd.readouterr() == ("", "")


def test_restore_puts_back_exactly_what_was(setup: LoggingSetup, host: HostsHandlers) -> None:
    logging.getLogger("tests.setup.a").setLevel(7)
    before = state()
    setup.get_logger("tests.setup.a")
    setup.get_logger("tests.setup.own")
    setup.configure("DEBUG")
    setup.get_logger("tests.setup.a.child")
    setup.configure("ERROR")
    assert state() != before
    setup.restore()
    assert state() == before
    setup.restore()
    assert state() == before


@pytest.mark.parametrize("calls", ["", "g", "c", "gc", "cg", "gcg", "ccc", "grc", "crc", "gcrgc", "rrr", "crr"])
def test_restore_puts_back_after_any_calls(setup: LoggingSetup, host: HostsHandlers, calls: str) -> None:
    logging.getLogger("tests.setup.a.child").handlers[:] = [host.other]
    before = state()
    for call in calls:
        if call == "g":
            setup.get_logger("tests.setup.a")
            setup.get_logger("tests.setup.a.child")
            setup.get_logger("root")
        elif call == "c":
            setup.configure()
        else:
            setup.restore()
            assert state() == before
    setup.restore()
    assert state() == before


def test_loggers_of_ours_write_once_after_configure_and_the_hosts_after_restore(
    setup: LoggingSetup, log_lines: Any, host: HostsHandlers
) -> None:
    logger = setup.get_logger("tests.setup.a")
    setup.configure()
    logger.error("ours")
    setup.restore()
    logger.error("the host's")
    assert log_lines.messages() == ["ours"]
    assert host.output.getvalue() == "the host's\n"


def test_configure_again_only_sets_the_level(setup: LoggingSetup, log_lines: Any, host: HostsHandlers) -> None:
    setup.configure()
    once = state()
    setup.configure()
    assert state() == once
    setup.configure("ERROR")
    logging.getLogger("tests.setup.b").warning("no")
    setup.configure("DEBUG")
    logging.getLogger("tests.setup.b").debug("yes")
    assert log_lines.messages() == ["yes"]


@pytest.mark.parametrize("level", ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "info"])
def test_every_level_there_is_can_be_set(setup: LoggingSetup, level: str) -> None:
    setup.configure(level)
    assert logging.getLogger().level == getattr(logging, level.upper())


def test_uvicorns_access_lines_stay_where_ours_are_off(log_lines: Any, host: HostsHandlers) -> None:
    setup = LoggingSetup(log_lines.writer, replaces_access_log=False)
    setup.configure()
    logging.getLogger("uvicorn.access").info("GET /")
    setup.restore()
    assert log_lines.messages() == ["GET /"]


@pytest.mark.parametrize("level", ["NOPE", "", "Level 5"])
def test_a_level_that_does_not_exist_is_refused(setup: LoggingSetup, level: str) -> None:
    with pytest.raises(ValueError, match=repr(level)):
        setup.configure(level)


def test_a_level_that_does_not_exist_changes_nothing(setup: LoggingSetup, host: HostsHandlers) -> None:
    before = state()
    with pytest.raises(ValueError, match="NOPE"):
        setup.configure("NOPE")
    assert state() == before
    setup.get_logger("tests.setup.a")
    setup.configure()
    assert logging.getLogger().level == logging.INFO


def test_the_levels_there_are_are_named(setup: LoggingSetup) -> None:
    with pytest.raises(ValueError, match=r"DEBUG.*INFO.*WARNING.*ERROR.*CRITICAL"):
        setup.configure("NOPE")


def test_after_restore_the_level_is_the_settings_again(setup: LoggingSetup) -> None:
    setup.configure("DEBUG")
    setup.restore()
    setup.configure()
    assert logging.getLogger().level == logging.INFO


def test_two_runtimes_restored_in_reverse_give_everything_back(
    make_log_lines: Callable[[], Any], host: HostsHandlers
) -> None:
    first, second = make_log_lines(), make_log_lines()
    one, two = LoggingSetup(first.writer), LoggingSetup(second.writer, "DEBUG")
    before = state()
    one.configure()
    between = state()
    two.configure()
    logging.getLogger("tests.setup.b").debug("to the second")
    two.restore()
    assert state() == between
    logging.getLogger("tests.setup.b").info("to the first")
    one.restore()
    assert state() == before
    assert (first.messages(), second.messages()) == (["to the first"], ["to the second"])


def test_two_runtimes_restored_in_order_give_everything_back(
    make_log_lines: Callable[[], Any], host: HostsHandlers
) -> None:
    one, two = LoggingSetup(make_log_lines().writer), LoggingSetup(make_log_lines().writer)
    before = state()
    one.configure()
    two.configure()
    one.restore()
    two.restore()
    assert state() == before


def test_configuring_from_many_threads_is_configuring_once(
    eager_switching: None, setup: LoggingSetup, host: HostsHandlers
) -> None:
    before = state()
    start = threading.Barrier(8)

    def work() -> None:
        start.wait(10)
        for _ in range(20):
            setup.get_logger("tests.setup.a")
            setup.configure()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(logging.getLogger().handlers) == 1
    setup.restore()
    assert state() == before


def test_warnings_of_python_are_lines_when_the_host_logs_them(setup: LoggingSetup, log_lines: Any) -> None:
    setup.configure()
    logging.getLogger("py.warnings").warning("%s", "careful\n  line()")
    assert log_lines.only()["message"] == "careful\n  line()"


def test_the_hosts_own_setup_in_between_is_put_aside_when_restored(
    setup: LoggingSetup, log_lines: Any, host: HostsHandlers
) -> None:
    """`dictConfig` closes every handler and sets up the host's; ours still writes where it is asked for."""
    before = state()
    setup.configure()
    logger = setup.get_logger("tests.setup.a")
    logging.config.dictConfig({"version": 1, "disable_existing_loggers": False, "root": {"level": "INFO"}})
    setup.restore()
    setup.configure()
    logger.info("after")
    assert log_lines.messages() == ["after"]
    setup.restore()
    assert state() == before


def test_configure_again_takes_what_the_host_took_back(
    setup: LoggingSetup, log_lines: Any, host: HostsHandlers
) -> None:
    """As after `basicConfig(force=True)`, or a `dictConfig` of the host that ran later."""
    setup.configure()
    logging.getLogger().handlers[:] = [host.other]
    setup.configure()
    logging.getLogger("tests.setup.b").info("x")
    assert log_lines.messages() == ["x"]


# structlog


@pytest.mark.parametrize("configured", [False, True], ids=["unconfigured", "configured before"])
def test_structlogs_events_become_one_line_each(
    bound: Any, setup: LoggingSetup, log_lines: Any, capfd: pytest.CaptureFixture[str], *, configured: bool
) -> None:
    if configured:
        structlog.configure(
            processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()],
            wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR),
            logger_factory=structlog.WriteLoggerFactory(),
            cache_logger_on_first_use=False,
        )
    before = state()
    log = structlog.get_logger("app.struct")
    setup.configure()
    log.info("sent", user="ann", sizes=[1], event_type="mail")
    log.bind(bound=1).warning("late bound")
    structlog.stdlib.get_logger("app.stdlib").error("stdlib")
    structlog.get_logger("app.struct").debug("below the level")
    with bound(task_id="t"), structlog.contextvars.bound_contextvars(request="r"):
        log.error("in context")
    lines = log_lines.all()
    if not configured:  # else the host's own class of loggers drops them
        sent, late_bound = lines[:2]
        assert (sent["message"], sent["level"], sent["logger"]) == ("sent", "INFO", "app.struct")
        assert (sent["user"], sent["sizes"], sent["event_type"], sent["module"]) == ("ann", [1], "mail", "test_setup")
        assert (late_bound["message"], late_bound["level"], late_bound["bound"]) == ("late bound", "WARNING", 1)
        del lines[:2]
    assert [(fields["message"], fields["level"]) for fields in lines] == [("stdlib", "ERROR"), ("in context", "ERROR")]
    assert (lines[1]["request"], lines[1]["task_id"]) == ("r", "t")
    setup.restore()
    now = state()
    assert {name: now[name] for name in before} == before
    assert capfd.readouterr() == ("", "")


def test_structlogs_exceptions_arguments_and_taken_names_are_kept(setup: LoggingSetup, log_lines: Any) -> None:
    setup.configure()
    log = structlog.get_logger("app.struct")
    try:
        raise LookupError("here")
    except LookupError:
        log.exception("failed")
    log.info("to %s", "ann")
    log.info("100 %")
    log.info("names", name=1, msg=2, args=3, level=4, message=5, exc_text=6)
    log.info(5)
    log.info("stack", stack_info=True)
    lines = log_lines.all()
    assert lines[0]["exception_type"] == "LookupError"
    assert [fields["message"] for fields in lines] == ["failed", "to ann", "100 %", "names", "5", "stack"]
    names = ("name_", "msg_", "args_", "level_", "message_", "exc_text_")
    assert [lines[3][name] for name in names] == [1, 2, 3, 4, 5, 6]
    assert lines[5]["stack"].startswith("Stack (most recent call last)")


def test_structlogs_events_of_tasks_become_lines(bound: Any, setup: LoggingSetup, log_lines: Any) -> None:
    """Its asynchronous methods log in a thread of the event loop's pool."""
    setup.configure()

    async def main() -> None:
        with bound(task_id="t"):
            await structlog.get_logger("app.struct").ainfo("sent", user="ann")

    asyncio.run(main())
    fields = log_lines.only()
    assert (fields["message"], fields["user"], fields["task_id"]) == ("sent", "ann", "t")


def test_structlogs_loggers_of_before_keep_what_was_bound(setup: LoggingSetup, log_lines: Any) -> None:
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())
    log = structlog.get_logger("app.struct", first=1)
    setup.configure()
    log.bind(second=2).info("e")
    setup.restore()
    fields = log_lines.only()
    assert (fields["first"], fields["second"]) == (1, 2)


def test_the_class_of_loggers_is_put_back(setup: LoggingSetup) -> None:
    logging.setLoggerClass(logging.Logger)
    setup.configure()
    setup.restore()
    assert logging.getLoggerClass() is logging.Logger


def test_events_of_structlog_name_the_code_that_logged(setup: LoggingSetup, log_lines: Any) -> None:
    logging.setLoggerClass(logging.Logger)
    logging.getLogger("tests.setup.plain").debug("makes it")
    setup.configure()
    structlog.get_logger("tests.setup.plain").info("e")
    fields = log_lines.only()
    assert (fields["module"], fields["function"]) == (
        "test_setup",
        "test_events_of_structlog_name_the_code_that_logged",
    )


def test_the_methods_of_structlogs_usual_logger_stay(setup: LoggingSetup, log_lines: Any) -> None:
    log = structlog.get_logger("app.struct")
    setup.configure()
    log.msg("worked before")
    assert log_lines.messages() == ["worked before"]


def test_no_field_of_structlog_is_lost_to_a_suffix(setup: LoggingSetup, log_lines: Any) -> None:
    setup.configure()
    structlog.get_logger("app.struct").info("e", name="first", name_="second")
    assert {"first", "second"} <= set(map(str, log_lines.only().values()))


def test_structlog_is_not_imported_for_it(run_code: Callable[[str], Any]) -> None:
    child = run_code("""
import sys
from ordinaut_ext_observability import configure_logging, restore_logging
configure_logging()
assert "structlog" not in sys.modules
import structlog
before = structlog.get_config()
restore_logging()
assert not structlog.is_configured()
assert structlog.get_config() == before
""")
    assert child.process.returncode == 0, child.err


# The public functions, and processes of their own


@pytest.mark.usefixtures("clean_process")
def test_the_functions_of_the_package_use_the_processes_runtime(host: HostsHandlers) -> None:
    import ordinaut_ext_observability as package

    before = state()
    logger = package.get_logger("tests.setup.a")
    package.configure_logging("ERROR")
    assert logging.getLogger().handlers == [package.current_runtime().logs.setup.handler]
    assert logging.getLogger().level == logging.ERROR
    assert package.get_logger("tests.setup.a") is logger
    package.restore_logging()
    after = state()  # with loggers that the runtime made, where this test is the first
    assert {name: after[name] for name in before} == before


@pytest.mark.usefixtures("clean_process")
def test_the_level_is_the_hosts_variable(monkeypatch: pytest.MonkeyPatch, host: HostsHandlers) -> None:
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    current.configure_logging()
    assert logging.getLogger().level == logging.WARNING
    current.restore_logging()


@pytest.mark.usefixtures("clean_process")
@pytest.mark.parametrize("asked", [False, True])
def test_a_runtime_configures_logging_at_its_start_when_the_settings_say_so(
    host: HostsHandlers, *, asked: bool
) -> None:
    before = state()
    settings = load_settings()
    logs = settings.logs.model_copy(update={"configure_logging": asked})
    runtime = Runtime(dataclasses.replace(settings, logs=logs))
    assert state() == before
    runtime.start()
    try:
        assert (logging.getLogger().handlers == [runtime.logs.setup.handler]) is asked
    finally:
        runtime.stop()
        runtime.logs.setup.restore()
    assert state() == before


PROCESSES = {
    "at the end of the program": (
        """
from ordinaut_ext_observability import get_logger
get_logger("app").info("1")
""",
        ["1"],
    ),
    "a program that fails": (
        """
from ordinaut_ext_observability import configure_logging
import logging
configure_logging()
logging.info("1")
raise SystemExit(3)
""",
        ["1"],
    ),
    "from functions called at exit": (
        """
import atexit
atexit.register(lambda: logger.info("4"))
from ordinaut_ext_observability import get_logger
logger = get_logger("app")
atexit.register(lambda: logger.info("3"))
logger.info("1")
atexit.register(lambda: logger.info("2"))
""",
        ["1", "2", "3", "4"],
    ),
    "from threads that end last": (
        """
import threading
from ordinaut_ext_observability import get_logger
logger = get_logger("app")
main = threading.main_thread()
def work():
    main.join()
    logger.info("2")
threading.Thread(target=work).start()
logger.info("1")
""",
        ["1", "2"],
    ),
    "while objects are collected at the end": (
        """
import signal
signal.alarm(20)  # ends it where it hangs
from ordinaut_ext_observability import get_logger
class Last:
    logger = get_logger("app")
    def __del__(self, logger=logger): logger.info("2")
last = Last()
last.logger.info("1")
""",
        None,
    ),
    "from a forked child that ends by itself": (
        """
import os, sys
from ordinaut_ext_observability import get_logger
logger = get_logger("app")
logger.info("1")
child = os.fork()
if not child:
    logger.info("2")
    sys.exit(0)
os.waitpid(child, 0)
""",
        ["1", "2"],
    ),
    "from a forked child of a runtime that was started": (
        """
import logging, os, sys
from ordinaut_ext_observability import configure_logging, current_runtime
current_runtime().start()
configure_logging()
logging.info("1")
child = os.fork()
if not child:
    logging.info("2")
    sys.exit(0)
os.waitpid(child, 0)
logging.info("3")
""",
        ["1", "2", "3"],
    ),
    "from a worker of multiprocessing": (
        """
import multiprocessing
from ordinaut_ext_observability import get_logger
logger = get_logger("app")
def work():
    for _ in range(3):
        logger.info("2")
process = multiprocessing.get_context("fork").Process(target=work)
process.start()
process.join()
logger.info("3")
""",
        ["2", "2", "2", "3"],
    ),
    "more lines than one write takes": (
        """
from ordinaut_ext_observability import get_logger
logger = get_logger("app")
for number in range(3000):
    logger.info("%d", number)
""",
        list(map(str, range(3000))),
    ),
}


@pytest.mark.parametrize("code", PROCESSES.keys())
def test_the_last_lines_of_a_process_arrive(run_code: Callable[[str], Any], code: str) -> None:
    source, expected = PROCESSES[code]
    child = run_code(source)
    assert child.process.returncode == (3 if "SystemExit" in source else 0), child.err
    messages = [fields["message"] for fields in child.log_lines() if fields.get("event_type") != "relay"]
    if expected is None:
        # The interpreter may have taken apart what a line needs; what was logged before must be there.
        assert messages[0] == "1"
    elif "fork" in source:
        assert sorted(messages) == expected
    else:
        assert messages == expected
