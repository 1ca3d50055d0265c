"""structlog's events keep their message, their fields and their caller, whatever the host's processors do to them."""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest

from ordinaut_ext_observability.logs.setup import LoggingSetup

structlog = pytest.importorskip("structlog")
processors = structlog.processors
stdlib = structlog.stdlib

Configure = Callable[..., Any]


@pytest.fixture
def configure(log_lines: Any) -> Iterator[Configure]:
    """Configures structlog as a host does, then us; returns a logger."""
    logger_class = logging.getLoggerClass()
    setup = LoggingSetup(log_lines.writer, "DEBUG")

    def run(*chain: Any, **options: Any) -> Any:
        structlog.configure(
            processors=list(chain),
            **{
                "logger_factory": stdlib.LoggerFactory(),
                "wrapper_class": stdlib.BoundLogger,
                "cache_logger_on_first_use": False,
                **options,
            },
        )
        setup.configure()
        return structlog.get_logger("app.struct")

    yield run
    setup.restore()
    structlog.reset_defaults()
    logging.setLoggerClass(logger_class)


def nothing(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """A processor of the host's own, for which structlog's others have to do their work."""
    return event


def ecs(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["message"] = event.pop("event")
    event["@timestamp"] = event.pop("timestamp")
    event["log.level"] = event.pop("level")
    event["log.logger"] = event.pop("logger")
    return event


def new_dict(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    return {"body": event["event"], **{name: value for name, value in event.items() if name != "event"}}


def nested(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["gcp"] = {"message": event.pop("event")}
    return event


def copied(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["message"] = event["event"]
    return event


def redacted(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["event"] = event["event"].replace("secret", "***")
    return event


def redacted_and_moved(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["msg"] = event.pop("event").replace("secret", "***")
    return event


def upper_level(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    event["severity"] = event["level"].upper()
    return event


USUAL = (
    structlog.contextvars.merge_contextvars,
    stdlib.filter_by_level,
    stdlib.add_log_level,
    stdlib.add_log_level_number,
    stdlib.add_logger_name,
    stdlib.PositionalArgumentsFormatter(),
    processors.TimeStamper(fmt="iso"),
    processors.StackInfoRenderer(),
    processors.format_exc_info,
)
FIELDS_OF_EVERY_LINE = {"timestamp", "level", "logger", "message", "module", "function", "line", "process"}


def own_fields(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in FIELDS_OF_EVERY_LINE}


@pytest.mark.parametrize("others", [(), (nothing,)], ids=["structlog's own", "with the host's own"])
@pytest.mark.parametrize(
    "last",
    [
        (processors.EventRenamer("message"),),
        (processors.EventRenamer("msg"),),
        (processors.EventRenamer("message", replace_by="_event"),),
        (processors.UnicodeDecoder(), processors.EventRenamer("text")),
        (new_dict,),
        (copied,),
        (redacted,),
        (redacted, processors.EventRenamer("text")),
        (redacted_and_moved,),
        (redacted, copied),
    ],
    ids=lambda chain: "+".join(getattr(each, "__name__", type(each).__name__) for each in chain),
)
def test_the_message_is_the_message_wherever_the_processors_put_it(
    configure: Configure, log_lines: Any, others: tuple[Any, ...], last: tuple[Any, ...]
) -> None:
    log = configure(*USUAL, *others, *last, processors.JSONRenderer())
    log.info("hello secret", user="ann")
    log.warning("hello %s secret", "you", user="ann")
    log.bind(user="ann").error("secret")
    lines = log_lines.all()
    shown = "***" if any(each in (redacted, redacted_and_moved) for each in last) else "secret"
    assert [fields["message"] for fields in lines] == [f"hello {shown}", f"hello you {shown}", shown]
    assert [fields["level"] for fields in lines] == ["INFO", "WARNING", "ERROR"]
    assert [own_fields(fields) for fields in lines] == [{"user": "ann"}] * 3


def test_a_message_put_into_another_field_is_there_and_the_message(configure: Configure, log_lines: Any) -> None:
    configure(*USUAL, nested, processors.JSONRenderer()).info("hello")
    assert log_lines.only()["message"] == "hello"
    assert own_fields(log_lines.only()) == {"gcp": {"message": "hello"}}


def test_processors_that_rename_what_others_added_find_it(configure: Configure, log_lines: Any) -> None:
    configure(*USUAL, ecs, processors.JSONRenderer()).info("hello", user="ann")
    fields = log_lines.only()
    assert (fields["message"], fields["user"]) == ("hello", "ann")
    assert (fields["log.level"], fields["log.logger"]) == ("info", "app.struct")
    assert {"@timestamp", "log.level", "log.logger", "user"} == set(own_fields(fields))


def test_what_replaces_the_event_is_a_field(configure: Configure, log_lines: Any) -> None:
    renamer = processors.EventRenamer("message", replace_by="_event")
    log = configure(*USUAL, nothing, renamer, processors.JSONRenderer())
    log.info("hello", _event="click")
    log.info("hello %s", "you", _event="click")
    assert log_lines.messages() == ["hello", "hello you"]
    assert [own_fields(fields) for fields in log_lines.all()] == [{"event": "click"}] * 2


@pytest.mark.parametrize("others", [(), (nothing,)], ids=["structlog's own", "with the host's own"])
def test_fields_whose_names_the_processors_use_are_kept(
    configure: Configure, log_lines: Any, others: tuple[Any, ...]
) -> None:
    call_site = processors.CallsiteParameterAdder()
    log = configure(*USUAL, call_site, *others, processors.EventRenamer("message"), processors.JSONRenderer())
    given = {"level": 4, "logger": "l", "timestamp": 1, "message": "m", "module": "mod", "lineno": 3, "exception": "e"}
    log.info("hello", **given)
    fields = log_lines.only()
    assert fields["message"] == "hello"
    kept = ("level_", "logger_", "timestamp_", "message_", "module_", "lineno_", "exception")
    assert [fields[name] for name in kept] == [4, "l", 1, "m", "mod", 3, "e"]
    assert not {"process_", "func_name"} & set(fields)


def test_a_field_that_equals_the_message_stays(configure: Configure, log_lines: Any) -> None:
    configure(*USUAL, nothing, processors.JSONRenderer()).info("api", service="api", message="api")
    assert own_fields(log_lines.only()) == {"service": "api", "message_": "api"}


def test_what_a_processor_makes_of_a_field_is_kept(configure: Configure, log_lines: Any) -> None:
    configure(*USUAL, upper_level, processors.JSONRenderer()).warning("hello")
    assert own_fields(log_lines.only()) == {"severity": "WARNING"}


@pytest.mark.parametrize("others", [(), (nothing,)], ids=["structlog's own", "with the host's own"])
@pytest.mark.parametrize(
    "renders",
    [processors.format_exc_info, processors.dict_tracebacks, processors.ExceptionPrettyPrinter(io.StringIO())],
)
def test_an_exception_is_on_the_line_once(
    configure: Configure, log_lines: Any, others: tuple[Any, ...], renders: Any
) -> None:
    log = configure(
        *USUAL[:-1], *others, renders, *others, processors.EventRenamer("message"), processors.JSONRenderer()
    )
    try:
        raise LookupError("here")
    except LookupError:
        log.exception("failed", exception="mine")
        log.error("failed", exc_info=True)  # noqa: G201 - the other way to say so
    log.error("failed", exc_info=ValueError("there"))
    log.error("failed", stack_info=True, exception="mine")
    first, second, third, fourth = log_lines.all()
    assert [fields["exception_type"] for fields in (first, second, third)] == ["LookupError"] * 2 + ["ValueError"]
    assert all("here" in fields["exception"] for fields in (first, second))
    assert "there" in third["exception"]
    assert own_fields(first).keys() == {"exception", "exception_type", "exception_"}
    assert own_fields(second).keys() == own_fields(third).keys() == {"exception", "exception_type"}
    assert fourth["stack"].rstrip().endswith('log.error("failed", stack_info=True, exception="mine")')
    assert first["exception_"] == "mine"


def test_what_the_host_makes_of_an_exceptions_text_is_on_the_line(configure: Configure, log_lines: Any) -> None:
    def hide(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if "exception" in event:
            event["exception"] = event["exception"].replace("secret", "***")
        return event

    def move(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if "exception" in event:
            event["error.stack_trace"] = event.pop("exception")
        return event

    for processor in (hide, move):
        configure(*USUAL, processor, processors.JSONRenderer()).error("failed", exc_info=ValueError("secret"))
    hidden, moved = log_lines.all()
    assert (hidden["exception_type"], hidden["exception"]) == ("ValueError", "ValueError: ***")
    assert own_fields(moved) == {"exception_type": "ValueError", "exception": "ValueError: secret"}


def test_a_processor_that_logs_and_one_that_drops_confuse_no_event(configure: Configure, log_lines: Any) -> None:
    def log_more(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "outer":
            structlog.get_logger("app.more").info("inner", level=1)
            structlog.get_logger("app.more").info("dropped")
        if event["event"] == "dropped":
            raise structlog.DropEvent
        return event

    log = configure(*USUAL, log_more, processors.EventRenamer("text"), processors.JSONRenderer())
    for _ in range(3):
        log.info("dropped")
        log.info("outer", user="ann")
    inner, outer = log_lines.all()[-2:]
    assert (inner["message"], own_fields(inner)) == ("inner", {"level_": 1})
    assert (outer["message"], outer["user"]) == ("outer", "ann")


@pytest.mark.parametrize("renders_early", [False, True])
def test_more_than_one_processor_at_the_end_may_render(
    configure: Configure, log_lines: Any, *, renders_early: bool
) -> None:
    renderer = (lambda _logger, _method, event: repr(event)) if renders_early else processors.JSONRenderer()
    log = configure(*USUAL, renderer, lambda _logger, _method, text: text.encode())
    log.info("hello", user="ann")
    fields = log_lines.only()
    assert "hello" in fields["message"]
    assert "ann" in (fields["message"] if renders_early else fields["user"])


def test_loggers_that_are_not_structlogs_get_what_the_host_renders(configure: Configure, log_lines: Any) -> None:
    output = io.StringIO()
    configure(*USUAL[2:4], *USUAL[5:], processors.KeyValueRenderer(key_order=["event", "level"]))
    structlog.wrap_logger(structlog.PrintLogger(output)).info("printed %s", "it")
    structlog.wrap_logger(logging.getLogger("app.wrapped")).info("handed on", user="ann")
    assert output.getvalue().startswith("event='printed it' level='info'")
    fields = log_lines.only()
    assert fields["message"].startswith("event='handed on' level='info'")
    assert fields["logger"] == "app.wrapped"


def test_configured_again_what_the_host_configured_meanwhile_is_taken(configure: Configure, log_lines: Any) -> None:
    configure(processors.JSONRenderer())
    log = configure(*USUAL, processors.EventRenamer("message"), processors.JSONRenderer())
    log.info("hello", user="ann")
    assert log_lines.only()["message"] == "hello"


remembers_who_awaits = pytest.mark.skipif(
    tuple(map(int, version("structlog").split(".")[:2])) < (24, 2), reason="its stdlib loggers forget who awaits them"
)
ASYNC_METHODS = ["ainfo", "adebug", "awarning", "aerror", "acritical", "aexception"]
NATIVE = {"wrapper_class": structlog.make_filtering_bound_logger(logging.DEBUG)}


@pytest.mark.parametrize(
    "options", [pytest.param({}, marks=remembers_who_awaits, id="stdlib"), pytest.param(NATIVE, id="native")]
)
def test_asynchronous_methods_name_the_line_that_awaits_them(
    configure: Configure, log_lines: Any, options: dict[str, Any]
) -> None:
    log = configure(*USUAL, processors.JSONRenderer(), **options)
    expected = []

    async def log_all() -> None:
        for method in ASYNC_METHODS:
            try:
                raise LookupError(method)
            except LookupError:
                expected.append(inspect.currentframe().f_lineno + 1)  # type: ignore[union-attr]
                await getattr(log, method)("hello %s", "you", number=1)
        expected.append(inspect.currentframe().f_lineno + 1)  # type: ignore[union-attr]
        await log.alog(logging.INFO, "hello %s", "you", number=1)

    asyncio.run(log_all())
    lines = [fields for fields in log_lines.all() if fields["logger"] == "app.struct"]
    assert [(fields["module"], fields["function"], fields["line"]) for fields in lines] == [
        ("test_structlog_bridge", "log_all", line) for line in expected
    ]
    assert {fields["message"] for fields in lines} == {"hello you"}
    assert [fields["exception_type"] for fields in lines if "exception" in fields] == ["LookupError"]
    assert all(fields["number"] == 1 for fields in lines)


@remembers_who_awaits
def test_an_asynchronous_method_run_as_a_task_names_who_runs_tasks(configure: Configure, log_lines: Any) -> None:
    log = configure(*USUAL, processors.JSONRenderer())
    asyncio.run(log.ainfo("hello"))
    fields = next(fields for fields in log_lines.all() if fields["logger"] == "app.struct")
    assert fields["function"] == "test_an_asynchronous_method_run_as_a_task_names_who_runs_tasks"


@remembers_who_awaits
def test_the_stack_of_an_asynchronous_method_is_the_callers(configure: Configure, log_lines: Any) -> None:
    log = configure(processors.JSONRenderer())

    async def call() -> None:
        await log.ainfo("hello", stack_info=True)

    asyncio.run(call())
    fields = next(fields for fields in log_lines.all() if fields["logger"] == "app.struct")
    assert fields["stack"].rstrip().endswith('await log.ainfo("hello", stack_info=True)')
