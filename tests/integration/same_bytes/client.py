"""A client that records every byte and how the connection ended, and removes from them what is ours."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time

ANSWER_SECONDS = 1.5
"""Longest wait for a server's next byte; an answer that never ends is an answer too."""

OURS = (
    (re.compile(rb"^x-correlation-id:[^\r\n]*\r\n", re.I | re.M), b""),
    # The application's own begin with "own".
    (re.compile(rb"^x-request-id: *(?!own)[^\r\n]*\r\n", re.I | re.M), b""),
    (re.compile(rb"^server-timing: *app;dur=[\d.]+\r\n", re.I | re.M), b""),
    (re.compile(rb"(^server-timing:[^\r\n]*), *app;dur=[\d.]+(?=[,\r])", re.I | re.M), rb"\1"),
)
DIFFERENT_EACH_TIME = (
    (re.compile(rb"^(date: )[A-Z][a-z]{2}, [^\r\n]* GMT\r\n", re.I | re.M), rb"\1now\r\n"),
    (re.compile(rb"(\x1f\x8b\x08.)....", re.S), rb"\1time"),  # gzip's own time stamp
    (re.compile(rb"0x[0-9a-f]{6,}"), b"0xaddress"),
)
MULTIPART = re.compile(rb"multipart/byteranges; boundary=([0-9a-zA-Z]+)")


def comparable(received: bytes) -> bytes:
    """The bytes without our headers and without what no two answers share."""
    for boundary in MULTIPART.findall(received):
        received = received.replace(boundary, b"boundary")
    for pattern, replacement in (*OURS, *DIFFERENT_EACH_TIME):
        received = pattern.sub(replacement, received)
    return received


class Client:
    """One connection. `ending` is empty while it may go on."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sent = bytearray()
        self.received = bytearray()
        self.ending = ""
        self.taken = 0  # bytes of what was waited for

    def send(self, data: bytes) -> None:
        self.sent += data
        # A server may close while we send; what it answered is still read.
        with contextlib.suppress(OSError):
            self._socket.sendall(data)

    def half_close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self, *, abruptly: bool = False) -> None:
        if abruptly:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self.ending = self.ending or "left"

    def read_answer(self, *, head: bool = False) -> int:
        """The status of the next final answer, once it is complete; 0 if there is none."""
        while True:
            if not self._read_until(b"\r\n\r\n"):
                return 0
            end = self.received.index(b"\r\n\r\n", self.taken) + 4
            lines = bytes(self.received[self.taken : end]).lower()
            self.taken = end
            status = re.match(rb"http/1\.[01] (\d+)", lines)
            code = int(status[1]) if status else 0
            if code < 200 and code != 101:
                if not status:
                    return 0
                continue
            if not head and code not in (101, 204, 304):
                self._read_body(lines)
            return code

    def read_to_end(self, seconds: float = ANSWER_SECONDS) -> None:
        """Read until the server closes."""
        deadline = time.monotonic() + seconds
        while self._more(deadline):
            pass
        self.taken = len(self.received)

    def read_bytes(self, count: int) -> bytes:
        """The next bytes; fewer if there are no more."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while len(self.received) < self.taken + count and self._more(deadline):
            pass
        taken = bytes(self.received[self.taken : self.taken + count])
        self.taken += len(taken)
        return taken

    def read_past(self, marker: bytes) -> bool:
        """Take everything until after the marker."""
        found = self._read_until(marker)
        self.taken = self.received.index(marker, self.taken) + len(marker) if found else len(self.received)
        return found

    def _read_body(self, lines: bytes) -> None:
        length = re.search(rb"^content-length: *(\d+)", lines, re.M)
        if re.search(rb"^transfer-encoding: *chunked", lines, re.M):
            while size := self._chunk_size():
                self.read_bytes(size + 2)
            self.read_past(b"\r\n")
        elif length:
            self.read_bytes(int(length[1]))
        else:
            self.read_to_end()

    def _chunk_size(self) -> int:
        start = self.taken
        if not self.read_past(b"\r\n"):
            return 0
        line = bytes(self.received[start : self.taken])
        return int(line, 16) if re.fullmatch(rb"[0-9a-fA-F]+\r\n", line) else 0

    def _read_until(self, marker: bytes) -> bool:
        deadline = time.monotonic() + ANSWER_SECONDS
        while marker not in self.received[self.taken :]:
            if not self._more(deadline):
                return False
        return True

    def _more(self, deadline: float) -> bool:
        if self.ending:
            return False
        try:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            data = self._socket.recv(65536)
        except TimeoutError:
            return False
        except ConnectionError:
            self.ending = "reset"
            return False
        self.received += data
        if not data:
            self.ending = "closed"
        return bool(data)
