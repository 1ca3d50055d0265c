"""Spans of what the host asks of databases and services: OpenTelemetry's instrumentations, where they are installed."""

from __future__ import annotations

import gc
import sys
from importlib import import_module
from typing import Any

_INSTRUMENTORS = {
    "asyncpg": "AsyncPGInstrumentor",
    "httpx": "HTTPXClientInstrumentor",
    "redis": "RedisInstrumentor",
    "sqlalchemy": "SQLAlchemyInstrumentor",
}


def instrument_clients() -> list[Any]:
    """Switch on the instrumentors that are not yet, and return them, to be switched off again.

    Not SQLAlchemy's, which takes long to import, where the host has not imported SQLAlchemy.
    """
    switched_on = []
    for library, name in _INSTRUMENTORS.items():
        options = {}
        if library == "sqlalchemy":
            if "sqlalchemy.engine" not in sys.modules:
                continue
            engine = sys.modules["sqlalchemy.engine"].Engine  # it sees by itself those made later
            options = {"engines": [found for found in gc.get_objects() if type(found) is engine]}
        try:
            instrumentor = getattr(import_module(f"opentelemetry.instrumentation.{library}"), name)()
        except ImportError:
            continue
        if not instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.instrument(**options)
            switched_on.append(instrumentor)
    return switched_on
