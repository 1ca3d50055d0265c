"""The requests: each a name and what the client does on a connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .client import Client
from .raw_http import ANSWERS
from .raw_websocket import CONVERSATIONS

Talk = Callable[[Client], None]


@dataclass(frozen=True)
class Case:
    """`settles`: the server may close a moment after the answer. `leaves_note`: wait for what the application notes."""

    name: str
    talk: Talk
    settles: bool = False
    leaves_note: bool = False


def head(path: str, method: str = "GET", more: str = "", version: str = "1.1") -> bytes:
    return f"{method} {path} HTTP/{version}\r\nHost: example.test\r\n{more}\r\n".encode("latin-1")


def asks(*requests: bytes, segments: bool = False, half_close: bool = False) -> Talk:
    """Sends the requests, in one segment or each after the other's answer, and reads as many answers."""

    def talk(client: Client) -> None:
        if not segments:
            client.send(b"".join(requests))
        if half_close:
            client.half_close()
        for request in requests:
            if segments:
                client.send(request)
            client.read_answer(head=request.startswith(b"HEAD "))

    return talk


def leaves(request: bytes, after: bytes = b"", *, abruptly: bool = False) -> Talk:
    """Goes away once the marker was read."""

    def talk(client: Client) -> None:
        client.send(request)
        if after:
            client.read_past(after)
        client.close(abruptly=abruptly)

    return talk


def in_parts(*parts: bytes) -> Talk:
    def talk(client: Client) -> None:
        for part in parts:
            client.send(part)
        client.read_answer()

    return talk


def continues(path: str) -> Talk:
    """Sends the body only when the server asks for it."""

    def talk(client: Client) -> None:
        client.send(head(path, "POST", "Expect: 100-continue\r\nContent-Length: 4\r\n"))
        client.read_past(b"\r\n\r\n")
        if client.received.startswith(b"HTTP/1.1 100"):
            client.send(b"body")
            client.read_answer()
        else:
            client.read_to_end(0.3)

    return talk


def raw_cases() -> list[Case]:
    """Every answer of the raw application: below FastAPI, below us alone, and where an outer layer would answer."""
    leaving = {"disconnected", "disconnected-then-raises", "disconnected-then-raises-odd", "disconnected-then-sends"}
    cases = []
    for name in ANSWERS:
        settles = name.startswith("end-raise")
        notes = name == "read-past-the-end"
        for place in ("bare", "raw"):
            path = f"/{place}/{name}"
            if name in leaving or name == "first-chunk":
                after = b"first" if name == "first-chunk" else b""
                cases += [
                    Case(f"leaves {path}", leaves(head(path), after), leaves_note=True),
                    Case(f"resets {path}", leaves(head(path), after, abruptly=True), leaves_note=True),
                    Case(f"half-closes {path}", asks(head(path), half_close=True), leaves_note=True),
                ]
            else:
                cases.append(Case(path, asks(head(path)), settles, notes))
            if name.startswith("constant"):
                ids = [head(path, more=f"X-Request-ID: cmp-{number}\r\n") for number in range(3)]
                cases.append(Case(f"thrice {path}", asks(*ids, segments=True)))
        if name.startswith(("raise", "start-raise", "chunk-raise")) or name in ("no-answer", "cancels-itself"):
            paths = (f"/caught/bare/{name}", f"/outer/raw/{name}")
            cases += [Case(path, asks(head(path))) for path in paths]
        if name.startswith(("raise", "204", "304", "start", "chunks", "length", "own", "body")):
            cases.append(Case(f"HEAD /bare/{name}", asks(head(f"/bare/{name}", "HEAD"))))
    return cases


def protocol_cases() -> list[Case]:
    """The same few answers asked in all the ways of HTTP/1."""
    cases = []
    for path in (
        "/any",
        "/bare/ok",
        "/bare/length",
        "/bare/raise-exception",
        "/bare/raise-base",
        "/bare/204",
        "/fail/x",
    ):
        cases += [
            Case(f"1.0 {path}", asks(head(path, version="1.0"))),
            Case(f"1.0 keep-alive {path}", asks(head(path, more="Connection: keep-alive\r\n", version="1.0"))),
            Case(f"close {path}", asks(head(path, more="Connection: close\r\n"))),
            Case(f"close in capitals {path}", asks(head(path, more="CONNECTION: Close\r\n"))),
            Case(f"posted {path}", asks(head(path, "POST", "Content-Length: 4\r\n") + b"body")),
            Case(f"posted without the body {path}", asks(head(path, "POST", "Content-Length: 4\r\n"))),
            Case(f"expects {path}", continues(path)),
            Case(f"pipelined first {path}", asks(head(path), head("/any"), head("/items/2"))),
            Case(f"pipelined between {path}", asks(head("/any"), head(path), head("/items/2"))),
            Case(f"pipelined HEAD {path}", asks(head(path, "HEAD"), head("/any", "HEAD"), head("/any"))),
            Case(f"one after the other {path}", asks(head("/any"), head(path), head("/any"), segments=True)),
            Case(f"half-closed {path}", asks(head(path), half_close=True)),
            Case(f"left at once {path}", leaves(head(path))),
        ]
    chunks = b"4\r\nbody\r\n3;extension=1\r\nabc\r\n0\r\n\r\n"
    chunked = head("/body", "POST", "Transfer-Encoding: chunked\r\n")
    posts = {
        "chunked": asks(chunked + chunks),
        "chunked in parts": in_parts(chunked, chunks[:7], chunks[7:20], chunks[20:]),
        "chunked with trailers": asks(chunked + chunks[:-2] + b"x-trailer: 1\r\n\r\n"),
        "chunked wrongly": asks(chunked + b"zz\r\nbody\r\n0\r\n\r\n"),
        "chunked and length": asks(
            head("/body", "POST", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n") + chunks
        ),
        "chunked, unread": asks(head("/body/unread", "POST", "Transfer-Encoding: chunked\r\n") + chunks),
        "pipelined after chunks": asks(chunked + chunks, head("/any")),
        "length": asks(head("/body", "POST", "Content-Length: 5\r\n") + b"hello"),
        "length in parts": in_parts(head("/body", "POST", "Content-Length: 5\r\n"), b"he", b"llo"),
        "large": asks(head("/body", "POST", "Content-Length: 200000\r\n") + b"x" * 200_000),
        "large, unread": asks(head("/body/unread", "POST", "Content-Length: 200000\r\n") + b"x" * 200_000),
        "expects, read": continues("/body"),
        "expects, unread": continues("/body/unread"),
        "expects otherwise": asks(head("/body", "POST", "Expect: a miracle\r\nContent-Length: 1\r\n") + b"x"),
        "length nonsense": asks(head("/body", "POST", "Content-Length: five\r\n") + b"hello"),
        "length negative": asks(head("/body", "POST", "Content-Length: -5\r\n") + b"hello"),
        "length twice": asks(head("/body", "POST", "Content-Length: 5\r\nContent-Length: 6\r\n") + b"hello"),
        "json": asks(head("/json", "POST", "Content-Type: application/json\r\nContent-Length: 8\r\n") + b'{"a": 1}'),
        "json wrong": asks(
            head("/json", "POST", "Content-Type: application/json\r\nContent-Length: 8\r\n") + b'{"a": x}'
        ),
        "json invalid": asks(
            head("/json", "POST", "Content-Type: application/json\r\nContent-Length: 10\r\n") + b'{"a": "x"}'
        ),
        "left in the body": leaves(head("/body", "POST", "Content-Length: 5\r\n") + b"he"),
        "half-closed in the body": asks(head("/body", "POST", "Content-Length: 5\r\n") + b"he", half_close=True),
        "raw body": asks(head("/bare/read-body", "POST", "Content-Length: 2\r\n") + b"ab"),
    }
    odd = {
        "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 garbage \r\n\r\n",
        "empty line first": b"\r\n" + head("/any"),
        "http 2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "http 3.0": head("/any", version="3.0"),
        "no version": b"GET /any\r\n\r\n",
        "line feeds": b"GET /any HTTP/1.1\nHost: a\n\n",
        "no host": b"GET /any HTTP/1.1\r\n\r\n",
        "two hosts": head("/any", more="Host: b\r\n"),
        "space before colon": head("/any", more="X-Odd : 1\r\n"),
        "folded header": head("/headers", more="X-Folded: a\r\n b\r\n"),
        "header without colon": head("/any", more="nonsense\r\n"),
        "header zero byte": head("/any", more="X-Zero: a\x00b\r\n"),
        "header latin": head("/headers", more="X-Latin: \xe9\r\n"),
        "duplicate headers": head("/headers", more="X-A: 1\r\nX-A: 2\r\nx-a: 3\r\n"),
        "many headers": head("/any", more="".join(f"X-{n}: {n}\r\n" for n in range(150))),
        "huge header": head("/any", more=f"X-Huge: {'x' * 40_000}\r\n"),
        "endless header": head("/any", more=f"X-Huge: {'x' * 600_000}\r\n"),
        "huge path": head("/text/" + "x" * 20_000),
        "absolute form": head("http://other.test/any?x=1"),
        "authority form": head("other.test:80", "CONNECT"),
        "asterisk": head("*", "OPTIONS"),
        "percent": head("/text/a%2Fb%20c%25?q=%41"),
        "not utf-8": head("/text/%ff%fe/%c3%28"),
        "raw not utf-8": head("/text/\xff\xfe"),
        "bad percent": head("/text/%zz%1"),
        "double slash": head("//items//1"),
        "dots": head("/static/../../etc/passwd"),
        "fragment": head("/any#part"),
        "query only": head("/?a=1&b"),
        "ids sent": head("/any", more="X-Request-ID: sent-1\r\nX-Correlation-ID: sent-2\r\n"),
        "ids odd": head("/any", more="X-Request-ID: a\tb\xe9 {}\r\nX-Request-ID: second\r\n"),
        "traceparent": head("/any", more="traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"),
        "traceparent odd": head("/any", more="traceparent: 00-zz\r\ntracestate: \xff\r\n"),
        "upgrade to h2c": head(
            "/any", more="Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAA\r\n"
        ),
        "upgrade to nothing": head("/any", more="Connection: Upgrade\r\nUpgrade: nothing\r\n"),
    }
    cases += [Case(f"body {name}", talk) for name, talk in posts.items()]
    cases += [Case(f"odd {name}", asks(request)) for name, request in odd.items()]
    cases.append(Case("garbage behind a request", asks(head("/any"), b"\x00\x01garbage\r\n\r\n")))
    cases.append(Case("half a request", leaves(b"GET /any HT")))
    cases.append(Case("nothing sent", leaves(b"")))
    return cases


def host_cases() -> list[Case]:
    """What applications do with FastAPI and Starlette."""
    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "CONNECT", "get", "ODD")
    paths = """
        /nowhere /items/1 /items/1?q=%C3%BC /items/x /items/1/ /slash /slash/ /docs /text/ /headers /cookies /own-ids
        /fail/http /fail/http-204 /fail/handled /fail/badly /fail/group /fail/odd /fail/unhandled /fail-in-thread
        /wrong-model /depends/before /depends/after  /depends/seen
        /stream/all /stream/fails /stream/fails-at-once /stream/thread /stream/length /stream/length-fails
        /events /events?fails=1 /file/plain.txt /file/large.bin /file/missing /status/204 /status/304 /status/205
        /status/404 /status/500 /static/plain.txt /static/ /static/folder /static/missing
        /sub/text /sub/text?fail=1 /sub/stream /sub/stream?fail=1 /sub/raw/raise-base /sub/raw/raise-exception
        /debug/text?fail=1 /debug/raw/raise-group /gzip/text /gzip/stream /gzip/text?fail=1 /gzip/stream?fail=1
        /based/text /based/text?fail=1 /based/text?after=1 /based/stream /based/stream?fail=1 /based/raw/raise-base
        /based/raw/cancels-itself /based/raw/raise-group /based/raw/no-answer /cors/text /cors/text?fail=1
        /outer/items/1 /outer/fail/unhandled /outer/fail/http /outer/items/1/ /outer/nowhere /caught/fail/odd
    """.split()
    compressed = "Accept-Encoding: gzip\r\nOrigin: http://o\r\n"
    cases = [Case(f"{method} /any", asks(head("/any", method))) for method in methods]
    cases += [Case(f"GET {path}", asks(head(path, more=compressed))) for path in paths]
    cases += [
        Case(f"HEAD {path}", asks(head(path, "HEAD")))
        for path in ("/nowhere", "/static/plain.txt", "/items/1", "/docs")
    ]
    for number in ("bytes=0-3", "bytes=-4", "bytes=2-", "bytes=0-1,4-5", "bytes=999-", "bytes=x", "lines=1-2"):
        for path in ("/file/plain.txt", "/static/plain.txt"):
            cases.append(Case(f"{number} {path}", asks(head(path, more=f"Range: {number}\r\n"))))
    no_origin = "Origin: http://o\r\nAccess-Control-Request-Method: GET\r\n"
    cases += [
        Case("preflight", asks(head("/cors/text", "OPTIONS", no_origin))),
        Case("not modified", asks(head("/static/plain.txt", more="If-None-Match: *\r\n"))),
        Case("dependency fails after the answer", asks(head("/depends/http-after")), settles=True),
        Case("background", asks(head("/background/notes")), leaves_note=True),
        Case("background fails", asks(head("/background/fails")), settles=True),
        Case("leaves events", leaves(head("/events?endless=1"), b"\r\nid: 2\n"), leaves_note=True),
        Case("resets events", leaves(head("/events?endless=1"), b"\r\nid: 2\n", abruptly=True), leaves_note=True),
        Case("leaves a large file", leaves(head("/file/large.bin"), b"\r\n\r\n")),
        Case("leaves half a megabyte", leaves(head("/bare/half-a-megabyte"), b"\r\n\r\n", abruptly=True)),
        Case("pipelined mix", asks(head("/stream/all"), head("/fail/http"), head("/gzip/text"), head("/events"))),
        Case("pipelined failures", asks(head("/fail/http"), head("/fail/unhandled"), head("/any"))),
        Case("pipelined behind a failed stream", asks(head("/stream/fails"), head("/any"))),
    ]
    return cases


def handshake(path: str, more: str = "", version: str = "13") -> bytes:
    key = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return head(path, more=f"{key}Sec-WebSocket-Version: {version}\r\n{more}")


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, masked: bool = True) -> bytes:
    """A client's frame (RFC 6455, section 5.2), its mask of zeros."""
    length = len(payload)
    size = bytes([length | 0x80 * masked]) if length < 126 else bytes([126 | 0x80 * masked]) + length.to_bytes(2, "big")
    return bytes([opcode | 0x80 * final]) + size + b"\0" * 4 * masked + payload


TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
GOODBYE = frame(CLOSE, (1000).to_bytes(2, "big"))


def converses(path: str, *frames: bytes, more: str = "", closes: bool = True, abruptly: bool = False) -> Talk:
    """Opens a WebSocket, sends the frames, and reads until the server closes."""

    def talk(client: Client) -> None:
        client.send(handshake(path, more))
        if client.read_answer() == 101:
            client.send(b"".join(frames))
            if abruptly:
                client.close(abruptly=True)
                return
            if closes:
                client.send(GOODBYE)
            client.read_to_end(1.0)

    return talk


def websocket_cases() -> list[Case]:
    """Handshakes and conversations."""
    talking = {"echo", "late", "raise-on-message"}
    cases = [
        Case(f"ws /{place}/{name}", converses(f"/{place}/{name}", more="Sec-WebSocket-Protocol: chat\r\n"))
        for place in ("bare", "raw")
        for name in CONVERSATIONS
        if name not in talking
    ]
    hello = frame(TEXT, b"hello")
    conversations: dict[str, tuple[bytes, ...]] = {
        "text": (hello,),
        "binary": (frame(BINARY, b"\x00\xff"),),
        "ping": (frame(PING, b"are you there"), hello),
        "fragments": (frame(TEXT, b"hel", final=False), frame(0, b"lo")),
        "long": (frame(TEXT, b"x" * 60_000),),
        "not utf-8": (frame(TEXT, b"\xff"),),
        "not masked": (frame(TEXT, b"x", masked=False),),
        "unknown opcode": (frame(5, b"x"),),
        "close without code": (frame(CLOSE),),
        "close with code": (frame(CLOSE, (4321).to_bytes(2, "big") + b"bye"),),
        "close wrongly": (frame(CLOSE, b"\x00"),),
    }
    for name, frames in conversations.items():
        closes = not name.startswith("close")
        for path in ("/bare/echo", "/ws/echo"):
            cases.append(Case(f"ws {name} {path}", converses(path, *frames, closes=closes), settles=True))
    cases += [
        *(Case(f"ws constant {n}", converses("/bare/constant", more=f"X-Request-ID: cmp-{n}\r\n")) for n in range(3)),
        Case("ws dropped", converses("/bare/echo", hello, abruptly=True), leaves_note=True),
        Case("ws late", converses("/bare/late", hello), leaves_note=True),
        Case("ws raise on message", converses("/bare/raise-on-message", hello, closes=False)),
        Case("ws subprotocols", converses("/ws/echo", hello, more="Sec-WebSocket-Protocol: other, chat\r\n")),
        Case("ws ids sent", converses("/ws/echo", hello, more="X-Request-ID: cmp-1\r\n")),
        Case("ws to an http route", converses("/any")),
        Case("ws no key", asks(head("/ws/echo", more="Connection: Upgrade\r\nUpgrade: websocket\r\n"))),
        Case("ws old version", asks(handshake("/ws/echo", version="8"))),
        Case("ws with POST", asks(handshake("/ws/echo").replace(b"GET", b"POST"))),
        Case("http to a websocket route", asks(head("/ws/echo"))),
        Case("ws behind a request", asks(head("/any"), handshake("/ws/number/1")), settles=True),
    ]
    cases += [
        Case(f"ws {path}", converses(path))
        for path in (
            "/ws/number/7", "/ws/number/x", "/ws/nowhere", "/ws/fail/policy", "/ws/fail/http", "/ws/fail/denial",
            "/ws/fail/accepted-policy", "/outer/ws/number/7", "/outer/raw/raise", "/outer/raw/accept-raise",
            "/based/raw/plain", "/based/raw/raise", "/gzip/raw/plain",
        )
    ]  # fmt: skip
    return cases


ALL = [*host_cases(), *protocol_cases(), *raw_cases(), *websocket_cases()]
