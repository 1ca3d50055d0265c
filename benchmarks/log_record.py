"""One line through the standard library's `logging`, against python-json-logger with orjson.

The same call with two extra fields; ours goes through our formatter, handler and writer, the peer's through its
formatter and a StreamHandler. Cost is processor time of the whole process. Lines go to /dev/null.
"""

from __future__ import annotations

import logging

from pythonjsonlogger.orjson import OrjsonFormatter

from benchmarks.harness import (
    Options,
    Result,
    cpu_seconds_of,
    dev_null,
    low,
    microseconds,
    take_turns,
    versions,
)
from ordinaut_ext_observability.logs.records import JsonHandler
from ordinaut_ext_observability.logs.writer import LogWriter
from ordinaut_ext_observability.scrub.scrubber import Scrubber

LINES_PER_ROUND = 3000


def run(options: Options) -> list[Result]:
    descriptor = dev_null()
    writer = LogWriter(descriptor)
    writer.scrub = Scrubber().lines
    stream = logging.StreamHandler(open(descriptor, "w", closefd=False))  # noqa: SIM115 - as long as the process
    stream.setFormatter(
        # The fields our line has.
        OrjsonFormatter(
            "{levelname}{name}{message}{module}{funcName}{lineno}{process}",
            style="{",
            timestamp="timestamp",
            rename_fields={"levelname": "level", "name": "logger", "funcName": "function", "lineno": "line"},
        )
    )
    ours_logger = _logger("benchmarks.ours", JsonHandler(writer))
    peer_logger = _logger("benchmarks.peer", stream)

    def ours() -> None:
        _log(ours_logger)
        if not writer.flush(10.0):
            raise RuntimeError("lines were not written")

    def peer() -> None:
        _log(peer_logger)

    figures = take_turns({"ours": cpu_seconds_of(ours), "peer": cpu_seconds_of(peer)}, options.pick(20, 80))
    writer.close()
    ours_seconds, peer_seconds = low(figures["ours"]), low(figures["peer"])
    return [
        Result(
            "log_record",
            microseconds(ours_seconds / LINES_PER_ROUND),
            microseconds(peer_seconds / LINES_PER_ROUND),
            ours_seconds / peer_seconds,
            versions("python-json-logger", "orjson"),
        )
    ]


def _logger(name: str, handler: logging.Handler) -> logging.Logger:
    logger = logging.getLogger(name)
    logger.handlers[:] = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO)
    return logger


def _log(logger: logging.Logger) -> None:
    for number in range(LINES_PER_ROUND):
        logger.info("step %s finished", number, extra={"step": "fetch", "seconds": 0.125})
