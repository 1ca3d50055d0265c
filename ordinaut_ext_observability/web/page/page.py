"""The status page: rendered from memory in slices of time, and remembered for a moment for all who have it open."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Generator, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import orjson
from starlette.types import Scope

from ordinaut_ext_observability.alerts.notifications.alert import rfc3339
from ordinaut_ext_observability.alerts.routing.matchers import matchers_text
from ordinaut_ext_observability.background.clock import Clock, monotonic_seconds
from ordinaut_ext_observability.background.daemon_threads import in_daemon_thread
from ordinaut_ext_observability.background.slicer import Slicer
from ordinaut_ext_observability.promql.times import parse_duration
from ordinaut_ext_observability.scrub.scrubber import Scrubber
from ordinaut_ext_observability.web.endpoints.base import EndpointContext
from ordinaut_ext_observability.web.page.facts import JUDGED, Moment
from ordinaut_ext_observability.web.page.plots import Plots, ResultT, Steps
from ordinaut_ext_observability.web.page.svg import figure_html, strip_svg
from ordinaut_ext_observability.web.page.values import in_words
from ordinaut_ext_observability.web.route_templates import list_routes

if TYPE_CHECKING:
    from jinja2 import Environment

REMEMBERED_SECONDS: Final = 2.0
"""Time for which a rendered page is given to others: however many have it open, it is rendered once in this time."""
MAX_REMEMBERED: Final = 16
"""Pages remembered: one for each view, some 200 kB."""
MAX_TEXT: Final = 600
"""Characters shown of one text of the host: the page stays small, whatever they are."""
MAX_ROUTES: Final = 300
"""Routes offered to choose from."""
RANGES: Final = ("15m", "1h", "6h", "24h")
"""Ranges offered; any other may stand in the URL."""
SECTIONS: Final = (
    *("state", "alerts", "checks", "http", "queue", "workers"),
    *("database", "errors", "slow", "journal", "loggers", "about"),
)
_FAILED: Final = (
    '<section id="{0}" aria-labelledby="{0}-title"><h2 id="{0}-title">{1}</h2>'
    "<p>This part cannot be shown: the extension failed, which its internal error count tells.</p></section>"
)

_FOLDER: Final = Path(__file__).parent
Piece = tuple[str, str]
"""The name of a part of the page, and some of its text."""


class View(NamedTuple):
    """The part of the page that is looked at, and whether who looks may change things."""

    route: str
    range: str
    may_change: bool


class Document(NamedTuple):
    """A rendered page: as a whole, and as JSON by sections."""

    title: str
    body: str
    json: bytes
    etag: str


class StatusPage:
    """Renders the page on one event loop. Make one per loop."""

    def __init__(self, clock: Clock) -> None:
        self._plots = Plots(clock)
        self._documents: dict[View, tuple[float, asyncio.Task[Document]]] = {}
        self._environment: Environment | None = None
        texts = [(_FOLDER / "static" / name).read_text("utf-8") for name in ("page.css", "page.js", "plots.js")]
        self.style, self.script = texts[0], "\n".join(texts[1:])

    async def document(self, context: EndpointContext, scope: Scope, *looked_at: Any) -> Document:
        """The page in the `View` of what is looked at: at most `REMEMBERED_SECONDS` old."""
        view, now = View(*looked_at), monotonic_seconds()
        begun_at, rendering = self._documents.get(view, (0.0, None))
        if rendering is None or now - begun_at > REMEMBERED_SECONDS:
            self._documents.pop(view, None)
            rendering = asyncio.create_task(self._render(context, scope, view))
            self._documents[view] = now, rendering
            if len(self._documents) > MAX_REMEMBERED:
                del self._documents[next(iter(self._documents))]
        return await asyncio.shield(rendering)  # others wait for it, too

    def forget(self) -> None:
        """Forget what is remembered: somebody has changed something."""
        self._documents.clear()

    async def _render(self, context: EndpointContext, scope: Scope, view: View) -> Document:
        if self._environment is None:
            self._environment = await in_daemon_thread(_make_environment, context.scrubber)
        slicer, found = Slicer(), defaultdict[str, list[str]](list)
        async for pieces in slicer.slices(self._render_parts(self._environment, context, scope, view)):
            for name, text in pieces:
                found[name].append(text)
        parts = {name: "".join(texts) for name, texts in found.items()}
        context.queries.metrics.overhead_seconds.labels("page").inc(slicer.cpu_seconds)
        title, body = parts.pop("title").strip(), parts.pop("page")
        content = orjson.dumps({"title": title, "sections": parts})
        return Document(title, body, content, f'"{blake2b(content, digest_size=16).hexdigest()}"')

    def _render_parts(
        self, environment: Environment, context: EndpointContext, scope: Scope, view: View
    ) -> Iterator[Piece]:
        """The texts of the title, of each section and of the whole page, a little at each step."""
        overview, sections = context.overview(scope), dict[str, str]()
        yield "title", ""
        moment = Moment(context, overview)
        facts: dict[str, Any] = {"view": view, "moment": moment, "history": moment.history, "sections": sections}
        facts["markers"] = [(round(each.time * 1000), each.version) for each in context.deployments.known]
        yield "title", ""
        if moment.history is not None:
            seconds = parse_duration(view.range) / 1000
            facts["plots"] = yield from _stepwise(self._plots.read(moment.history, view.route, seconds))
            facts["table"] = yield from _stepwise(self._plots.read_routes(moment.history, view.route, seconds))
        for name in (*SECTIONS, "title", "page"):
            if name == "page":
                facts["routes"] = sorted(_first_routes(scope.get("app")))
                facts["ranges"] = sorted({*RANGES, view.range}, key=parse_duration)
            texts, found = list[str](), dict[str, Any]()
            try:
                for some in JUDGED[name](moment) if name in JUDGED else ():
                    found |= some
                    yield name, ""
                facts |= found if name == "state" else {}
                for text in environment.get_template(f"{name}.html").generate(facts | found):
                    texts.append(text)
                    yield name, ""
            except Exception:
                context.queries.metrics.count_internal_error("page")
                if name not in SECTIONS[1:]:
                    raise  # without a state there is no page
                texts = [_FAILED.format(name, name.capitalize())]
            text = "".join(texts)
            yield name, ""
            # A name of the host, such as a logger's, may have half a surrogate pair, which no answer can hold.
            sections[name] = text.encode("utf-8", "replace").decode()
            yield name, sections[name]


def _first_routes(app: Any) -> set[str]:
    routes = set[str]()
    for _, route in list_routes(app):
        routes.add(route)
        if len(routes) == MAX_ROUTES:
            break
    return routes


def _stepwise(work: Steps[ResultT]) -> Generator[Piece, None, ResultT]:
    """The work's result, its steps being ours."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            result: ResultT = done.value
            return result
        yield "title", ""


_DIRECTIONS: Final = dict.fromkeys((*range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\N{REPLACEMENT CHARACTER}")
"""Characters that turn the direction of text: one that is not ended turns what follows, too."""


def _make_environment(scrubber: Scrubber | None) -> Environment:
    """The templates, compiled, whose values are scrubbed. Takes some tens of milliseconds: call it in a thread."""
    import jinja2

    def shown(value: Any) -> Any:
        if type(value) is not str:  # a number, or HTML already
            return value
        text = (value if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]} …").translate(_DIRECTIONS)
        return scrubber.text(text) if scrubber is not None else text

    loader, strict = jinja2.FileSystemLoader(_FOLDER / "templates"), jinja2.StrictUndefined
    environment = jinja2.Environment(
        loader=loader, undefined=strict, finalize=shown, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"words": in_words, "matchers": matchers_text}
    environment.filters["iso"] = lambda at: at if isinstance(at, str) else rfc3339(at)
    environment.globals |= {"strip": strip_svg, "figure": figure_html}
    for name in environment.list_templates():
        environment.get_template(name)
    return environment
