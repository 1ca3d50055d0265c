"""Spans of pipelines, steps and events, as `observability.tracing`."""

from ordinaut_ext_observability.compat.tracing import *  # noqa: F403
from ordinaut_ext_observability.compat.tracing import __all__ as __all__  # noqa: PLC0414
