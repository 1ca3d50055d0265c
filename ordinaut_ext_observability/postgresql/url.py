"""URLs of PostgreSQL, however they are written: what asyncpg takes of them, and what of them may be shown."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

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
_SERVER = re.compile(r"(?:\[(?P<v6>[\w:.%]+)\]|(?P<name>[\w.%-]*))(?::(?P<port>[0-9]{0,5}))?", re.ASCII)
_SHOWABLE = re.compile(r"[\w.$+-]*")
_USUAL_PORT = "5432"


class Target(NamedTuple):
    """A URL that was read: `postgresql://{credentials}{servers}{path}?{parameters}`."""

    credentials: str
    servers: tuple[str, ...]
    """One empty text for the machine's own socket, wherever asyncpg looks for it."""
    path: str
    parameters: dict[str, str]
    """Those that asyncpg acts on, without what names servers."""

    def url(self, *servers: str) -> str:
        """The URL for asyncpg, without what only other drivers know; of these servers instead of all."""
        query = urlencode(self.parameters)
        return f"postgresql://{self.credentials}{','.join(servers or self.servers)}{self.path}{query and f'?{query}'}"

    def shown(self, *servers: str) -> str:
        """The same servers, with commas, and the database as `host:port/database`: an odd name as `?`."""
        names = (unquote(self.path[1:]), self.parameters.get("database"), self.parameters.get("dbname"))
        database = next(filter(None, names), "")
        socket = f"local socket:{self.parameters.get('port', _USUAL_PORT)}"
        named = ",".join(_shown_server(server) if server else socket for server in servers or self.servers)
        return f"{named}/{database if _SHOWABLE.fullmatch(database) else '?'}"


def read_url(url: str) -> Target:
    """Read a URL of any driver. Raises ValueError, which repeats nothing of it: any part may be of a password."""
    url = url.strip()
    beginning = _BEGINNING.match(url)
    if beginning is None:
        raise ValueError("the database URL does not begin with postgresql://")
    if not url.isprintable() or " " in url:
        # `urlsplit` would leave a line break out, and with it change a password.
        raise ValueError("the database URL has a space, a line break or another character that needs a %-escape")
    parts = None
    with suppress(ValueError):  # not raised from: its text may quote the URL
        # Without the driver's name: `psycopg_async` is no scheme to `urlsplit`, for the underscore.
        parts = urlsplit(f"postgresql://{url[beginning.end() :]}")
    if parts is None:
        raise ValueError("the database URL cannot be read")
    credentials, at, location = parts.netloc.rpartition("@")
    # With an @ elsewhere, what looks like a host and a port is the beginning of a password.
    if "@" in f"{credentials}{parts.path}{parts.query}{parts.fragment}":
        raise ValueError("the database URL cannot be read, a password's special characters need %-escapes")
    given = dict(parse_qsl(parts.query))
    parameters = {name: value for name, value in given.items() if name in _UNDERSTOOD}
    _check(parameters)
    # `hostaddr` is libpq's way to spare itself the name server.
    hosts = parameters.pop("host", given.get("hostaddr", ""))
    servers = location.split(",") if location else _servers(hosts, parameters.get("port", ""))
    if servers != [""]:
        parameters.pop("port", None)
    for server in servers:
        _shown_server(server if servers != [""] else f":{parameters.get('port', '')}")
    return Target(credentials + at, tuple(servers), parts.path, parameters)


def _check(parameters: dict[str, str]) -> None:
    for name, choices in _CHOICES.items():
        if parameters.get(name, choices[0]) not in choices:
            raise ValueError(f"the database URL has a parameter {name} that is none of {', '.join(choices)}")
    if parameters.get("sslrootcert") == "system" and parameters.get("sslmode", "verify-full") != "verify-full":
        raise ValueError("the database URL has sslrootcert=system, which needs sslmode=verify-full")
    if not parameters.get("port", "0").replace(",", "").isdecimal():
        raise ValueError("the database URL has a port that is no number up to 65535")


def _servers(hosts: str, ports: str) -> list[str]:
    """The servers that two parameters name. A single port is that of each host, as to libpq."""
    if not hosts:
        return [""]
    each_host = [quote(host, safe="[]:") for host in hosts.split(",")]
    each_port = ports.split(",") if "," in ports else [ports] * len(each_host)
    if len(each_port) != len(each_host):
        raise ValueError("the database URL has not as many ports as hosts")
    return [f"{host}:{port}" if host and port else host for host, port in zip(each_host, each_port, strict=True)]


def _shown_server(server: str) -> str:
    found = _SERVER.fullmatch(server)
    if not server or found is None:
        raise ValueError("the database URL has a host or port that cannot be read")
    port = found["port"] or _USUAL_PORT
    if int(port) > 65535:
        raise ValueError("the database URL has a port that is no number up to 65535")
    name = found["v6"] or found["name"] or "localhost"
    return f"{'local socket' if unquote(name).startswith('/') else name}:{port}"
