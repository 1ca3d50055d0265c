"""A real HTTP server that takes what is posted to it, and answers as it is told."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable
from typing import Any

Answer = tuple[int, dict[str, str], str]
"""Status, headers, text."""


class HttpReceiver:
    """Takes JSON, at any path."""

    def __init__(self) -> None:
        self.status, self.headers = 200, {}
        self.judge: Callable[[str, Any], Answer] = lambda _path, _body: (self.status, self.headers, "")
        """Gives the answer to a body at a path."""
        self.next: Answer | None = None
        """The answer to the next post alone."""
        self.answers = threading.Event()
        """Cleared: it hangs, and what was posted meanwhile is lost."""
        self.answers.set()
        self.given: list[Any] = []
        """The headers of every post."""
        self.posted: list[tuple[str, Any]] = []
        """Path and body of those that it took, with a status below 300."""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.given.append(self.headers)
                if not receiver.answers.is_set():
                    receiver.answers.wait(60)
                    return
                (status, headers, text), receiver.next = receiver.next or receiver.judge(self.path, body), None
                if status < 300:
                    receiver.posted.append((self.path, body))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(text)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def taken(self) -> list[Any]:
        """The bodies of those that it took."""
        return [body for _, body in self.posted]

    def told(self) -> list[tuple[str, str]]:
        """Name of the first alert and status of each notification that it took, as Alertmanager's webhook has them."""
        return [(body["alerts"][0]["labels"]["alertname"], body["status"]) for body in self.taken]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
