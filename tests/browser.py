"""A real browser for tests: Debian's Chromium through Playwright, and pages on which nothing may go wrong."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

CHROMIUM = "/usr/bin/chromium"
TIMEOUT_MS = 30_000
"""Longest wait for something that is bound to happen; only a failing test waits this long."""

_SIGNS_IN = r"status of 401 .*#token="
"""The first answer to who is not signed in yet; its script then signs in by the token in the fragment."""

_REPORT_VIOLATIONS = """addEventListener("securitypolicyviolation", event =>
    console.error("CSP", event.violatedDirective, event.blockedURI, event.sample))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for the tests of a module; without Chromium they are skipped, in CI they fail."""
    if not Path(CHROMIUM).exists():
        reason = f"a browser needs {CHROMIUM}: apt-get install chromium"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=TIMEOUT_MS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-dev-shm-usage"])
        yield started
        started.close()


class Tabs:
    """Opens pages, each with cookies of its own, and keeps what their consoles say of faults."""

    def __init__(self, browser: Browser, stack: contextlib.ExitStack) -> None:
        self._browser = browser
        self._stack = stack
        self.problems: list[str] = []
        self.expected = _SIGNS_IN
        """A pattern of faults that are none, or that the test provokes."""

    def __call__(self, **options: Any) -> Page:
        """A page; the options are those of a browser's context, such as `color_scheme`."""
        context = self._browser.new_context(**options)
        self._stack.callback(context.close)
        context.set_default_timeout(TIMEOUT_MS)
        context.on("console", self._read_console)
        context.on("weberror", lambda error: self._add(f"exception: {error.error}"))
        context.on("dialog", lambda dialog: (self._add(f"dialog: {dialog.message}"), dialog.dismiss()))
        if options.get("java_script_enabled", True):
            context.add_init_script(_REPORT_VIOLATIONS)
        return context.new_page()

    def _read_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self._add(f"{message.type}: {message.text} ({message.location.get('url')})")

    def _add(self, problem: str) -> None:
        if not re.search(self.expected, problem):
            self.problems.append(problem)


@pytest.fixture
def open_tab(browser: Browser) -> Iterator[Tabs]:
    """Opens pages; the test fails on errors and warnings of a console, exceptions, dialogs, violations of a CSP."""
    with contextlib.ExitStack() as stack:
        tabs = Tabs(browser, stack)
        yield tabs
    assert tabs.problems == [], tabs.problems


def sign_in(page: Page, url: str, token: str) -> None:
    """Open a page with the token in its fragment, and wait until it is shown."""
    page.goto(f"{url}#token={token}")
    page.wait_for_selector("#state")


def serious_faults(page: Page) -> list[str]:
    """Barriers for people with disabilities that axe rates as serious or critical, each with its place."""
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
        for violation in violations
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    ]


def overflow(page: Page) -> int:
    """Pixels by which the document is wider than its window; nobody should need to scroll sideways."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def wait_until(page: Page, check: Callable[[], bool], timeout_ms: float = TIMEOUT_MS) -> bool:
    """Tell whether the check comes true in time, while the browser's events are handled."""
    waited = 0
    while not check():
        if waited >= timeout_ms:
            return False
        page.wait_for_timeout(50)
        waited += 50
    return True
