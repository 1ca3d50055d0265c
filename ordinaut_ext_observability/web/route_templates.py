"""From a handled request to the endpoint it belongs to: the full route template, never a raw path.

The routes are asked again, from the outermost application on, which one takes the request. What the router left in the
ASGI scope differs between versions of FastAPI and Starlette; it is the key under which the answer is remembered, so
the cost of a request does not grow with the number of routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from starlette.routing import Host, Match, Mount
from starlette.types import Scope

UNMATCHED = "<unmatched>"  # of requests that no route answered: unknown paths, or turned away before the router
REST_OF_PATH = "/{path}"  # stands for what a mounted application, or a plug-in not loaded yet, was asked for
LEFT_BY_ROUTERS = frozenset(("app_root_path", "endpoint", "fastapi", "path_params", "route"))
_MAX_REMEMBERED = 4096
_MAX_DEPTH = 8
_PLUGIN_ID = re.compile(r"/ext/([A-Za-z0-9_-]{1,64})(?=/|$)")


class EndpointResolver:
    """Finds the template of the route that handled a request."""

    def __init__(self, app: Any) -> None:
        """`app` is the outermost application: a Starlette or FastAPI instance, or anything with `routes`."""
        self.app = app
        # Keyed by identity, since routes are not hashable; the objects are kept so that no other gets their ids.
        self._remembered: dict[tuple[int, int, int, str], tuple[str, object]] = {}

    def resolve(self, scope: Scope) -> str:
        """The template for a request whose scope has been through the router."""
        route, endpoint, included = scope.get("route"), scope.get("endpoint"), scope.get("fastapi")
        if route is None and endpoint is None:
            return UNMATCHED
        context = included.get("effective_route_context") if included is not None else None
        mounted_at = ""
        if "app_root_path" in scope:  # a mount was entered: the path to it was added to the root path
            mounted_at = scope["root_path"][len(scope["app_root_path"]) :]
        key = (id(route), id(endpoint), id(context), mounted_at)
        remembered = self._remembered.get(key)
        if remembered is not None:
            return remembered[0]
        template = self._find(scope, scope["path"], mounted_at)
        # Before Starlette 0.50 a plain route leaves its function only, which other routes may have as well.
        if route is not None or sum(getattr(other, "endpoint", None) is endpoint for other in self.app.routes) <= 1:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = (template, (route, endpoint, context))
        return template

    def resolve_redirect(self, scope: Scope, location: bytes) -> str:
        """The template for a redirect sent before any route was reached.

        To the same path: the host has just loaded the plug-in that was asked for. To the path with or without its last
        slash: the router's own, and the template is that of the route it leads to.
        """
        path: str = scope["path"]
        if unquote(urlsplit(location.decode("latin-1")).path) == path:
            plugin = plugin_of(path.removeprefix(scope.get("root_path", "")))
            return f"/ext/{plugin}{REST_OF_PATH}" if plugin else UNMATCHED
        return self._find(scope, path.rstrip("/") if path.endswith("/") else f"{path}/", "")

    def _find(self, scope: Scope, path: str, mounted_at: str) -> str:
        """The template of the path, with the mounts that lead to it."""
        asked = {name: scope[name] for name in scope.keys() - LEFT_BY_ROUTERS}
        asked |= {"path": path, "root_path": scope.get("app_root_path", scope.get("root_path", ""))}
        for _ in range(_MAX_DEPTH):
            template = _match(self.app, asked, scope.get("endpoint"), _MAX_DEPTH)
            if template is not None:
                return template
            # Where this application is itself mounted in another, the path to it comes first.
            segment, slash, mounted_at = mounted_at[1:].partition("/")
            if not segment:
                break
            asked["root_path"] += f"/{segment}"
            mounted_at = slash + mounted_at
        # A route that is not among the application's, such as our own at the root.
        return _template_of(scope.get("route")) or UNMATCHED


def plugin_of(template: str) -> str | None:
    """The id of the plug-in a template (or path without root) belongs to."""
    match = _PLUGIN_ID.match(template)
    return match[1] if match else None


def _match(app: Any, scope: Mapping[str, Any], endpoint: object, depth: int) -> str | None:
    """The template of the application's first route that takes the request; one with another method where none does.

    With an endpoint (a function, or a mounted application), of those that lead to it.
    """
    of_other_method = None
    for route in _routes_of(app):
        match, child_scope = route.matches(scope)
        if match is Match.NONE:
            continue
        leads_there = endpoint is None or child_scope.get("endpoint", endpoint) is endpoint
        mount = getattr(route, "starlette_route", None) or route
        if isinstance(mount, (Mount, Host)):
            rest = _match(mount, {**scope, **child_scope}, endpoint, depth - 1) if depth else None
            if rest or leads_there:
                return f"{getattr(mount, 'path', '')}{rest or REST_OF_PATH}"
        elif leads_there:
            template = _template_of(route)
            if match is Match.FULL and template is not None:
                return template
            of_other_method = of_other_method or template
    return of_other_method


def _routes_of(app: Any) -> Iterator[Any]:
    """An application's routes, those of included routers (FastAPI 0.137 and later) one by one."""
    for included in getattr(app, "routes", None) or ():
        contexts = getattr(included, "effective_route_contexts", None)
        yield from contexts() if contexts is not None else (included,)


def _template_of(route: Any) -> str | None:
    for candidate in (getattr(route, "starlette_route", None), route):
        template = getattr(candidate, "path_format", None) or getattr(candidate, "path", None)
        if isinstance(template, str):
            return template or "/"
    return None
