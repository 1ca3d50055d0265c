"""Answers are the same bytes with and without us, our headers aside: forty requests on uvicorn.

`tests/long/test_same_bytes.py` asks a thousand, on every server.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.integration.same_bytes.cases import ALL
from tests.integration.same_bytes.comparison import compare, prepare_files

NAMES = """
    GET /any
    GET /items/1
    GET /items/x
    GET /slash
    GET /cookies
    GET /own-ids
    GET /fail/unhandled
    GET /fail/odd
    GET /stream/fails
    GET /events?fails=1
    GET /gzip/text
    GET /based/text?after=1
    GET /outer/fail/unhandled
    background fails
    bytes=0-3 /static/plain.txt
    1.0 keep-alive /bare/raise-exception
    close /bare/raise-base
    expects /bare/raise-exception
    pipelined between /bare/raise-exception
    one after the other /any
    posted without the body /bare/raise-base
    body chunked with trailers
    odd garbage
    odd not utf-8
    odd endless header
    HEAD /bare/raise-exception
    /bare/no-answer
    /bare/headers-failing-generator
    /bare/headers-text-name
    /bare/status-missing
    /bare/body-none
    /bare/start-twice
    /bare/changed-afterwards
    /bare/own-both
    /bare/204-with-body
    /bare/raise-group
    /caught/bare/raise-exception
    thrice /raw/constant
    leaves /bare/disconnected-then-raises
    leaves events
    ws text /ws/echo
    ws /bare/headers-none
    ws constant 0
    ws constant 1
    ws /bare/raise
    ws /bare/denial
"""
"""One of each kind; a few of them have been different once."""


def test_answers_are_the_same_bytes_with_and_without_us(
    tmp_path: Path, start_child: Callable[..., Any], free_port: Callable[[], int]
) -> None:
    prepare_files(tmp_path)
    by_name = {case.name: case for case in ALL}
    cases = [by_name[line.strip()] for line in NAMES.strip().splitlines()]
    result = compare("uvicorn httptools", cases, tmp_path, start_child, free_port)
    assert not result.differences, "\n".join(map(str, result.differences))
    assert not result.ids_wrong
