"""A check named in the configuration file as `package.module:function`."""

from __future__ import annotations

from importlib import import_module
from operator import attrgetter
from typing import Any


class ImportedCheck:
    """Imports the function when it is first run, in a thread: imports may be slow, and may fail."""

    def __init__(self, target: str) -> None:
        self._module, _, self._name = target.partition(":")

    def run(self) -> Any:
        """What the function returns; of a coroutine function, the awaitable."""
        return attrgetter(self._name)(import_module(self._module))()
