"""From a handled request to the endpoint it belongs to: the full route template, never a raw path.

The router leaves what it matched in the ASGI scope. Which key it leaves differs between versions of FastAPI and
Starlette; the answer is remembered per route object, so the cost of a request does not grow with the number of routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

UNMATCHED = "<unmatched>"
"""The endpoint of requests that no route answered: unknown paths, and what a layer before the router turned away."""

REST_OF_PATH = "/{path}"
"""Stands for what a mounted application, or a plug-in not loaded yet, was asked for."""

_MAX_REMEMBERED = 4096
_MAX_DEPTH = 8
_PLUGIN_ID = re.compile(r"/ext/([A-Za-z0-9_-]{1,64})(?=/|$)")


class EndpointResolver:
    """Finds the template of the route that handled a request."""

    def __init__(self, app: Any) -> None:
        """`app` is the outermost application: a Starlette or FastAPI instance, or anything with `routes`."""
        self._app = app
        # Keyed by identity, since routes are not hashable; the objects are kept so that no other gets their ids.
        self._remembered: dict[tuple[int, int, int, str], tuple[str, object, object, object]] = {}

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
        template, lasting = self._work_out(_innermost(route, context), scope, mounted_at)
        if lasting:
            if len(self._remembered) >= _MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[key] = (template, route, endpoint, context)
        return template

    def resolve_redirect(self, scope: Scope, location: bytes) -> str:
        """The template for a redirect sent before any route was reached.

        To the same path: the host has just loaded the plug-in that was asked for. To the path with or without its last
        slash: the router's own, and the template is that of the route it leads to.
        """
        path: str = scope["path"]
        target = location.decode("latin-1")
        if unquote(_path_of(target)) == path:
            plugin = plugin_of(_without_root(path, scope.get("root_path", "")))
            return f"/ext/{plugin}{REST_OF_PATH}" if plugin else UNMATCHED
        redirected = dict(scope)
        redirected["path"] = path.rstrip("/") if path.endswith("/") else f"{path}/"
        redirected.pop("fastapi", None)
        for route, template in _templates(self._routes()):
            if template is not None and route.matches(redirected)[0] is not Match.NONE:
                return template
        return UNMATCHED

    def _routes(self) -> Iterable[BaseRoute]:
        return getattr(self._app, "routes", None) or ()

    def _work_out(self, matched: Any, scope: Scope, mounted_at: str) -> tuple[str, bool]:
        """The template, and whether every request with the same match has it."""
        prefix, routes = self._enter_mounts(mounted_at)
        if matched is None:
            return _by_endpoint(scope.get("endpoint"), scope, prefix, routes)
        if isinstance(getattr(matched, "starlette_route", None) or matched, Mount):
            return prefix + REST_OF_PATH, True
        return prefix + (_template_of(matched) or ""), True

    def _enter_mounts(self, mounted_at: str) -> tuple[str, Iterable[BaseRoute]]:
        """The template of the mounts that lead to a root path, and the routes there."""
        template = ""
        rest = mounted_at
        routes: Iterable[BaseRoute] = self._routes()
        for _ in range(_MAX_DEPTH):
            if not rest:
                return template, routes
            for mount in _mounts(routes):
                match = mount.path_regex.match(f"{rest}/")
                if match is not None:
                    template += mount.path
                    rest = f"/{match['path']}".rstrip("/")
                    routes = mount.routes or ()
                    break
            else:
                if template:
                    break
                # Where this application is itself mounted in another, the path to it comes first.
                _, slash, rest = rest[1:].partition("/")
                rest = slash + rest
        return f"{template}/{{mount}}", ()


def plugin_of(template: str) -> str | None:
    """The id of the plug-in a template (or path without root) belongs to."""
    match = _PLUGIN_ID.match(template)
    return match[1] if match else None


def _innermost(route: Any, context: Any) -> Any:
    """The route that knows the template, or None where the router left none.

    From FastAPI 0.137 on a route in an included router knows only its own part of the path; the whole is in the
    context of its inclusion.
    """
    if context is not None and (route is None or _belongs(context, route)):
        return context
    # An included router that found nothing inside is left there too; it has no path.
    return route if route is not None and _template_of(route) is not None else None


def _belongs(context: Any, route: Any) -> bool:
    """Whether the context is of this route, not of a mount passed on the way to it."""
    return context.original_route is route or context.starlette_route is route or _template_of(route) is None


def _by_endpoint(endpoint: object, scope: Scope, prefix: str, routes: Iterable[BaseRoute]) -> tuple[str, bool]:
    """Before Starlette 0.50 only the function, or the mounted application, is in the scope: find what leads to it."""
    found = [
        (route, template)
        for route, template in _templates(routes)
        if template is not None and getattr(route, "endpoint", None) is endpoint
    ]
    if len(found) == 1:
        return prefix + found[0][1], True
    for route, template in found:
        if route.matches(scope)[0] is not Match.NONE:
            return prefix + template, False
    if prefix or any(mount.app is endpoint for mount in _mounts(routes)):
        return prefix + REST_OF_PATH, True
    return UNMATCHED, True


def _template_of(route: Any) -> str | None:
    inner = getattr(route, "starlette_route", None)
    for candidate in (inner, route):
        template = getattr(candidate, "path_format", None) or getattr(candidate, "path", None)
        if isinstance(template, str):
            return template or "/"
    return None


def _templates(routes: Iterable[Any]) -> Iterator[tuple[Any, str | None]]:
    """Routes with their templates; those of included routers (FastAPI 0.137 and later) one by one."""
    for route in routes:
        contexts = getattr(route, "effective_route_contexts", None)
        if contexts is not None:
            for context in contexts():
                yield context, _template_of(context)
        else:
            yield route, _template_of(route)


def _mounts(routes: Iterable[Any]) -> Iterator[Mount]:
    for route, _ in _templates(routes):
        candidate = getattr(route, "starlette_route", None) or route
        if isinstance(candidate, Mount):
            yield candidate


def _path_of(url: str) -> str:
    without_query = url.partition("?")[0]
    _, scheme, rest = without_query.partition("://")
    if not scheme:
        return without_query
    _, slash, path = rest.partition("/")
    return f"{slash}{path}" or "/"


def _without_root(path: str, root_path: str) -> str:
    return path.removeprefix(root_path) if root_path else path
