"""URLs of PostgreSQL, however they are written: what asyncpg takes of them, and what of them may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

_UNDERSTOOD = frozenset(
    {
        *("host", "port", "dbname", "database", "user", "password", "passfile", "options", "target_session_attrs"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
    }
)
"""Parameters of a URL that asyncpg acts on. Others it would send to the server, which refuses what it does not know."""

_CHOICES = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "primary", "standby", "read-write", "read-only", "prefer-standby"),
}
"""Parameters of which asyncpg takes these values and no others."""

_BEGINNING = re.compile(r"postgres(?:ql)?(?:\+\w+)?://", re.IGNORECASE)
_SERVER = re.compile(r"(?:\[(?P<v6>[\w:.%]+)\]|(?P<name>[\w.%-]*))(?::(?P<port>[0-9]*))?")
_SHOWABLE = re.compile(r"[\w.$+-]*")
_LARGEST_PORT = 65535
_USUAL_PORT = "5432"
_LOCAL = "local socket"


def asyncpg_url(url: str) -> str:
    """The same place for asyncpg: without SQLAlchemy's driver name and without what only other drivers know.

    Raises:
        ValueError: it is not a URL of PostgreSQL's; the message repeats nothing of it, since it may hold a password.
    """
    parsed = _parse(url)
    kept = urlencode(parsed.parameters)
    return f"postgresql://{parsed.parts.netloc}{parsed.parts.path}{'?' if kept else ''}{kept}"


def shown_target(url: str) -> str:
    """The servers and the database as `host:port/database`: several servers with commas, an odd name as `?`.

    Raises:
        ValueError: as of `asyncpg_url`.
    """
    parsed = _parse(url)
    path = unquote(parsed.parts.path.removeprefix("/"))
    database = path or parsed.parameters.get("database") or parsed.parameters.get("dbname", "")
    servers = ",".join(f"{host}:{port}" for host, port in parsed.servers)
    return f"{servers}/{database if _SHOWABLE.fullmatch(database) else '?'}"


@dataclass(frozen=True, slots=True)
class _Parsed:
    parts: SplitResult
    parameters: dict[str, str]
    """Those that asyncpg acts on."""
    servers: list[tuple[str, str]]
    """Hosts and ports to be shown."""


def _parse(url: str) -> _Parsed:
    url = url.strip()
    beginning = _BEGINNING.match(url)
    if beginning is None:
        raise ValueError("the database URL does not begin with postgresql://")
    if not url.isprintable() or " " in url:
        # `urlsplit` would leave a line break out, and with it change a password.
        raise ValueError("the database URL has a space, a line break or another character that needs a %-escape")
    # Without the driver's name: `psycopg_async` is no scheme to `urlsplit`, for the underscore.
    parts = _split(f"postgresql://{url[beginning.end() :]}")
    if parts is None:
        raise ValueError("the database URL cannot be read")
    # With an @ elsewhere, what looks like a host and a port is the beginning of a password.
    if parts.netloc.count("@") > 1 or "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise ValueError("the database URL cannot be read, a password's special characters need %-escapes")
    given = dict(parse_qsl(parts.query))
    parameters = {name: value for name, value in given.items() if name in _UNDERSTOOD}
    if "hostaddr" in given:  # libpq's way to spare itself the name server
        parameters.setdefault("host", given["hostaddr"])
    for name, choices in _CHOICES.items():
        if parameters.get(name, choices[0]) not in choices:
            raise ValueError(f"the database URL has a parameter {name} that is none of {', '.join(choices)}")
    if "port" in parameters and "," not in parameters["port"]:
        # To libpq it is the port of each host, asyncpg wants as many.
        others = parameters.get("host", "").count(",")
        parameters["port"] += f",{parameters['port']}" * others
    return _Parsed(parts, parameters, _servers(parts.netloc.rpartition("@")[2], parameters))


def _split(url: str) -> SplitResult | None:
    """None when it cannot be read. The error is gone by then: its text may quote the URL."""
    try:
        return urlsplit(url)
    except ValueError:
        return None


def _servers(network_location: str, parameters: dict[str, str]) -> list[tuple[str, str]]:
    """What asyncpg connects to. The parameters count where the URL itself names no host."""
    ports = parameters["port"].split(",") if "port" in parameters else []
    if not all(map(_is_port, ports)):
        raise ValueError("the database URL has a port that is no number up to 65535")
    if network_location:
        return [_server(text, _USUAL_PORT) for text in network_location.split(",")]
    if "host" not in parameters:
        return [(_LOCAL, ",".join(ports) or _USUAL_PORT)]
    hosts = parameters["host"].split(",")
    if len(ports or hosts) != len(hosts):
        raise ValueError("the database URL has not as many ports as hosts")
    return [_server(text, port) for text, port in zip(hosts, ports or [_USUAL_PORT] * len(hosts), strict=True)]


def _server(text: str, usual_port: str) -> tuple[str, str]:
    if text.startswith("/"):
        return _LOCAL, usual_port
    found = _SERVER.fullmatch(text)
    if not text or found is None:
        raise ValueError("the database URL has a host or port that cannot be read")
    port = found["port"] or usual_port
    if not _is_port(port):
        raise ValueError("the database URL has a port that is no number up to 65535")
    if unquote(found["name"] or "").startswith("/"):
        return _LOCAL, port
    return found["v6"] or found["name"] or "localhost", port


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(_LARGEST_PORT)) and int(text) <= _LARGEST_PORT
