"""Event streams in memory, behind the interface through which the host offers Redis to extensions."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from ordinaut_ext_observability.background.clock import wall_seconds

Message = tuple[str, dict[bytes, bytes]]


class EventStreams:
    """All streams of one app. They grow without bound, as the host's do."""

    def __init__(self) -> None:
        self.messages: defaultdict[str, list[Message]] = defaultdict(list)
        self.read: defaultdict[tuple[str, str], int] = defaultdict(int)
        """How many messages of a stream a consumer group has been given."""
        self.arrived: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)


class EventsFacade:
    """The streams of one extension, named `ext:<id>:<namespace or events>:<name>`."""

    def __init__(self, streams: EventStreams, plugin_id: str) -> None:
        self._streams = streams
        self._plugin_id = plugin_id

    async def publish(self, name: str, payload: dict[str, Any], *, namespace: str | None = None) -> str:
        """Append an event and return its id."""
        stream = self._stream(name, namespace)
        messages = self._streams.messages[stream]
        message_id = f"{int(wall_seconds() * 1000)}-{len(messages)}"
        messages.append((message_id, {b"payload": json.dumps(payload).encode()}))
        self._streams.arrived[stream].set()
        return message_id

    async def subscribe(
        self,
        name: str,
        *,
        group: str,
        consumer: str,  # noqa: ARG002
        count: int = 10,  # noqa: ARG002
        block_ms: int = 5000,  # noqa: ARG002
        create_group: bool = True,  # noqa: ARG002
        namespace: str | None = None,
    ) -> AsyncIterator[Message]:
        """Every event of the stream that the group has not been given yet; never ends by itself.

        The arguments that only tune Redis are accepted and not used.
        """
        stream = self._stream(name, namespace)
        arrived = self._streams.arrived[stream]
        while True:
            position = self._streams.read[stream, group]
            messages = self._streams.messages[stream]
            if position < len(messages):
                self._streams.read[stream, group] = position + 1
                yield messages[position]
            else:
                arrived.clear()
                await arrived.wait()

    def _stream(self, name: str, namespace: str | None) -> str:
        return f"ext:{self._plugin_id}:{namespace or 'events'}:{name}"
