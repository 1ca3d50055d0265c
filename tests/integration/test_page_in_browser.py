"""The status page in a real browser: what it shows, what it lets an operator do, and what nobody else can make it do."""

from __future__ import annotations

import http.server
import json
import logging
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import pytest
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from ordinaut_ext_observability.health.model import HealthStatus, Outcome
from tests.browser import overflow, serious_faults, sign_in, wait_until
from tests.conftest import eventually

TOKEN, VIEWER = "an-operators-token-0123456789", "a-viewers-token-0123456789012"
MOUNT = "/ext/observability"
RULE = "    - {alert: %s, expr: '%s', labels: {severity: warning}, annotations: {summary: '%s'}}\n"
GROUPS = "groups:\n- name: tests\n  interval: 1s\n  rules:\n"
SOON_MS = 15_000
"""Longest time until a page shows what changed."""
HOSTILE = {
    "script": "<script>alert(1)</script>",
    "handler": '"><img src=x onerror=alert(1)>',
    "reversed": "invoice\u202egnp.exe",
    "long": "x" * 10_000,
}


class Installation:
    """An application with the page, whose faults a test makes."""

    def __init__(self, serve: Callable[..., Any], folder: Path, **settings: str) -> None:
        self._rules = folder / "rules.yml"
        self._rules.write_text(GROUPS + RULE % ("Steady", "vector(1)", "Steady is on."))
        config = folder / "observability.yaml"
        config.write_text(f"rule_files: [{self._rules}]\nrules: {{Watchdog: {{enabled: false}}}}\n")
        self.app = FastAPI()
        self.app.add_api_route("/hello", lambda: "hello")
        self.app.add_api_route("/fails", self._fail)
        self.error = "NoLuck"
        defaults = {"HISTORY_INTERVAL_SECONDS": "1", "HEALTH_INTERVAL_SECONDS": "0.5", "ALERTS_SETTLE_SECONDS": "0"}
        defaults |= {"OPERATOR_TOKEN": TOKEN, "VIEWER_TOKEN": VIEWER, "CONFIG": str(config)}
        self._start = lambda: serve(self.app, **{**defaults, **settings})

    def start(self) -> Installation:
        self.served = self._start()
        self.url = f"{self.served.url}{MOUNT}/"
        return self

    def _fail(self) -> None:
        raise type(self.error[:100], (ValueError,), {})(self.error)

    def set_check(self, status: HealthStatus, message: str, name: str = "payments") -> None:
        self.served.runtime.health_monitor.register_check(name, lambda: Outcome(status, message), failures_to_worsen=1)

    def fire(self, *names: str) -> None:
        """Let alerts of these names fire from now on."""
        with self._rules.open("a") as file:
            file.writelines(RULE % (name, "vector(1)", f"{name} is on.") for name in names)
        self.wait_for_alerts(*names)

    def wait_for_alerts(self, *names: str) -> None:
        """Have the rules read again, and wait until these alerts fire."""
        assert self.call("POST", "-/reload").status_code == 200

        def firing() -> set[str]:
            alerts = self.call("GET", "alerts").json()["alerts"]
            return {each["name"] for each in alerts if each["state"] == "firing"}

        assert eventually(lambda: firing() >= set(names))

    def fire_with(self, name: str, text: str) -> None:
        """Let an alert fire, of which everything but the name is this text."""
        labels = {"severity": "critical", "text": text}
        rule = {"alert": name, "expr": "vector(1)", "labels": labels, "annotations": {"summary": text}}
        with self._rules.open("a") as file:
            file.write(f"    - {json.dumps(rule)}\n")

    def call(self, method: str, path: str, token: str = TOKEN, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {token}", **options.pop("headers", {})}
        return self.served.client.request(method, f"{MOUNT}/{path}", headers=headers, **options)

    def silences(self) -> list[dict[str, Any]]:
        """Silences of every kind that hold."""
        shown = self.call("GET", "api/v2/silences").json()
        return [each for each in shown if each["status"]["state"] != "expired"]

    def acted(self, endpoint: str, status_code: int = 200) -> dict[str, Any]:
        """The line of the audit log about a change at this endpoint."""
        fields = {"event_type": "operator_action", "endpoint": endpoint, "status_code": status_code}
        line: dict[str, Any] = self.served.log.lines(1, **fields)[0]
        return line


@pytest.fixture
def host(serve: Callable[..., Any], tmp_path: Path) -> Installation:
    return Installation(serve, tmp_path).start()


@pytest.fixture
def page(open_tab: Any, host: Installation) -> Page:
    """The page of the host, an operator signed in."""
    opened: Page = open_tab()
    sign_in(opened, host.url, TOKEN)
    return opened


def asked(page: Page) -> list[int]:
    """The statuses of answers that bring the page up to date, from now on."""
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status) if f"{MOUNT}/page" in answer.url else None)
    return answers


def alert(page: Page, name: str) -> Any:
    """The part of the page about an alert."""
    return page.locator("#alerts article", has_text=f"{name} is on.")


def widest(page: Page) -> list[str]:
    """The texts and other things that reach out of the window to the right, those in boxes that scroll left out."""
    script = """() => {
        const width = document.documentElement.clientWidth, found = [];
        const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
        for (let node = walker.nextNode(); node; node = walker.nextNode()) {
            const range = document.createRange();
            range.selectNode(node);
            if (range.getBoundingClientRect().right <= width + 1) continue;
            let at = node.parentElement;
            while (at !== document.body && getComputedStyle(at).overflowX === "visible") at = at.parentElement;
            if (at !== document.body) continue;
            found.push(`${node.nodeName} in ${node.parentElement.className} ${node.parentElement.closest("section, header")?.id}: ` +
                node.textContent.trim().slice(0, 30));
        }
        return found;
    }"""
    found: list[str] = page.evaluate(script)
    return [f"{overflow(page)} px", *found]


def test_state_and_its_reasons_are_shown_without_scripts(open_tab: Any, host: Installation) -> None:
    host.set_check(HealthStatus.UNHEALTHY, "the provider refuses us")
    open_tab.expected = "status of 401"
    page = open_tab(java_script_enabled=False)
    page.goto(host.url)
    page.locator("input[name=token]").fill("a-wrong-token-0123456789")
    page.locator("button, input[type=submit]").first.click()
    expect(page.locator("body")).to_contain_text(re.compile("wrong", re.IGNORECASE))
    page.locator("input[name=token]").fill(TOKEN)
    page.locator("button, input[type=submit]").first.click()
    state = page.locator("#state")
    expect(state).to_have_attribute("data-status", "unhealthy")
    expect(state).to_contain_text("payments")
    expect(state).to_contain_text("the provider refuses us")
    assert [each.get_attribute("id") for each in page.locator("section").all()] == [
        *("state", "alerts", "checks", "http", "queue", "workers"),
        *("database", "errors", "slow", "journal", "loggers", "about"),
    ]


def test_token_in_the_fragment_signs_in_and_is_kept_from_scripts(page: Page, host: Installation) -> None:
    assert "#" not in page.url
    (cookie,) = page.context.cookies()
    facts = {name: cookie[name] for name in ("name", "path", "httpOnly", "sameSite")}
    assert facts["path"].rstrip("/") == MOUNT
    assert (facts["name"], facts["httpOnly"], facts["sameSite"]) == ("ordinaut_observability", True, "Strict")
    assert page.evaluate("document.cookie") == ""
    assert TOKEN not in page.content()
    assert TOKEN not in "".join(str(line) for line in host.served.log.all_lines())
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("input[name=token]")).to_be_visible()
    assert page.context.cookies() == []


def test_faults_appear_without_reload(page: Page, host: Installation) -> None:
    page.evaluate("window.mark = 1")
    host.fire("Flooded")
    host.set_check(HealthStatus.UNHEALTHY, "the provider refuses us")
    expect(page.locator("#state")).to_have_attribute("data-status", "unhealthy", timeout=SOON_MS)
    expect(page.locator("#checks")).to_contain_text("the provider refuses us")
    expect(page.locator("#alerts")).to_contain_text("Flooded is on.")
    host.set_check(HealthStatus.HEALTHY, "fine")
    expect(page.locator("#checks")).not_to_contain_text("the provider refuses us", timeout=SOON_MS)
    assert page.evaluate("window.mark") == 1


def test_paused_or_hidden_page_asks_nothing_and_an_unchanged_one_is_not_sent_again(
    open_tab: Any, serve: Callable[..., Any], tmp_path: Path
) -> None:
    host = Installation(serve, tmp_path, HISTORY_INTERVAL_SECONDS="300", HEALTH_INTERVAL_SECONDS="300").start()
    page = open_tab()
    page.clock.install()
    sign_in(page, host.url, TOKEN)
    answers = asked(page)

    def asks(seconds: int) -> list[int]:
        answers.clear()
        page.clock.run_for(seconds * 1000)
        page.wait_for_timeout(200)
        return list(answers)

    assert wait_until(page, lambda: asks(10) and set(answers) == {304})
    pause = page.locator("#pause")
    pause.click()
    assert asks(120) == []
    pause.click()
    assert wait_until(page, lambda: bool(asks(10)))
    hide = """hidden => {
        Object.defineProperty(document, "visibilityState", {value: hidden ? "hidden" : "visible", configurable: true});
        Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
        document.dispatchEvent(new Event("visibilitychange"));
    }"""
    page.evaluate(hide, True)
    page.wait_for_timeout(200)  # what was asked before is answered
    assert asks(120) == []
    page.evaluate(hide, False)
    assert wait_until(page, lambda: bool(answers)), "a page that is shown again is not brought up to date at once"


def test_operator_works_on_alerts_by_clicking(page: Page, host: Installation) -> None:
    """Each action shows at once, is told by the live region, and is in the audit log."""
    host.fire("Acked", "Snoozed", "Silenced")
    page.reload()
    page.locator("#by").fill("Ada")
    for name, action, shown in (("Acked", "ack", "Acknowledged by Ada"), ("Snoozed", "snooze", "Snoozed by Ada")):
        alert(page, name).locator(f"[data-action={action}]").click()
        expect(alert(page, name)).to_contain_text(shown)
        expect(page.locator("[aria-live]")).not_to_be_empty()
        host.acted("/alerts/{fingerprint}/ack")
    silence = alert(page, "Silenced").locator("form[data-action=silence]")
    alert(page, "Silenced").locator("summary").click()
    silence.locator("[name=comment]").fill("it is known")
    silence.get_by_role("button").click()
    expect(alert(page, "Silenced")).to_contain_text("Silenced by Ada")
    expect(alert(page, "Silenced")).to_contain_text("it is known")
    host.acted("/silences")
    page.locator(".begin summary").click()
    page.locator("form[data-action=maintenance] [name=comment]").fill("a new disk")
    page.locator("form[data-action=maintenance]").get_by_role("button").click()
    ends = page.locator("[data-action=end]")
    expect(ends).to_have_count(4)
    host.acted("/maintenance")
    expect(page.locator("#alerts")).to_contain_text("a new disk")
    kinds = [each["annotations"].get("kind", "silence") for each in host.silences()]
    assert sorted(kinds) == ["acknowledgement", "maintenance", "silence", "snooze"]
    for left in (3, 2, 1, 0):
        ends.first.click()
        expect(ends).to_have_count(left)
    host.acted("/api/v2/silence/{silence_id}")
    assert host.silences() == []


def test_news_disturb_nobody_who_types(page: Page, host: Installation) -> None:
    host.wait_for_alerts("Steady")
    page.reload()
    steady = alert(page, "Steady")
    steady.locator("summary").click()
    why = steady.locator("[name=comment]")
    why.press_sequentially("half a sen")
    host.fire("Further")
    expect(alert(page, "Further")).to_be_visible(timeout=SOON_MS)
    page.keyboard.type("tence")
    expect(why).to_be_visible()
    expect(why).to_be_focused()
    expect(why).to_have_value("half a sentence")


def test_operator_resolves_an_error_and_changes_a_level(open_tab: Any, host: Installation) -> None:
    host.served.get("/fails")
    assert eventually(lambda: host.call("GET", "errors").json()["errors"])
    page = open_tab()
    sign_in(page, host.url, TOKEN)
    errors, loggers = page.locator("#errors"), page.locator("#loggers")
    errors.locator("[data-action=resolve]").click()
    expect(errors).to_contain_text("resolved")
    host.acted("/errors/{fingerprint}/resolve")
    loggers.locator("[name=name]").fill("tests.page")
    loggers.get_by_role("button", name="Change").click()
    row = loggers.locator("tr", has_text="tests.page")
    expect(row).to_contain_text("DEBUG")
    host.acted("/loggers/{name}")
    row.get_by_role("button").click()
    expect(row.get_by_text("DEBUG")).to_have_count(0)


def test_filters_are_in_the_url_and_survive_a_reload(page: Page, host: Installation) -> None:
    host.served.get("/hello")
    page.goto(f"{host.url}?range=15m&route=/hello")
    for _ in range(2):
        expect(page.locator("[name=range]")).to_have_value("15m")
        expect(page.locator("[name=route]")).to_have_value("/hello")
        page.reload()
    page.locator("select[name=range]").select_option("1h")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(re.compile("route=(/|%2F)hello"))
    page.reload()
    expect(page.locator("[name=range]")).to_have_value("1h")
    expect(page.locator("[name=route]")).to_have_value("/hello")


def test_copied_promql_is_answered_by_our_own_endpoint(page: Page, host: Installation) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    figures = page.locator("figure.plot")
    for _ in range(3):
        host.served.get("/hello")
    page.reload()
    figure = figures.first
    figure.locator("summary").click()
    figure.locator("[data-copy]").first.click()
    assert wait_until(page, lambda: bool(page.evaluate("navigator.clipboard.readText()")))
    query = page.evaluate("navigator.clipboard.readText()")
    assert query == figure.locator("code").first.inner_text().strip()
    now = page.evaluate("Date.now() / 1000")
    for code in page.locator("figure.plot code").all_text_contents():
        asked_for = {"query": code.strip(), "start": now - 60, "end": now, "step": 15}
        answer = host.call("GET", "api/v1/query_range", params=asked_for)
        assert (answer.status_code, answer.json()["status"]) == (200, "success"), (code, answer.text)


def test_keys_reach_everything_and_show_where_they_are(page: Page, host: Installation) -> None:
    host.wait_for_alerts("Steady")
    page.reload()
    where = """() => {
        const at = document.activeElement, style = getComputedStyle(at);
        const shown = style.outlineStyle !== "none" || style.boxShadow !== "none";
        const name = at.dataset.action || at.id || at.name || at.getAttribute("href") || at.tagName;
        return [name, shown];
    }"""
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(where))
    names = [name for name, _ in reached]
    assert names[0].startswith("#"), f"the first is no link over what repeats: {names}"
    assert {"route", "range", "pause", "ack", "snooze", "SUMMARY"} <= set(names)
    assert [name for name, shown in reached if not shown and name != "BODY"] == []


@pytest.fixture
def hostile_host(serve: Callable[..., Any], tmp_path: Path) -> Installation:
    """A host all of whose texts attack the page."""
    host = Installation(serve, tmp_path)
    for number, text in enumerate(HOSTILE.values()):
        host.app.add_api_route(f"/{number}/{text}", lambda: "fine")
        logging.getLogger(f"hostile.{text}")
    host.start()
    for number, (name, text) in enumerate(HOSTILE.items()):
        host.set_check(HealthStatus.UNHEALTHY, text, name=f"{name}: {text}"[:100])
        host.served.client.request("GET", f"/{number}/{text}")
        host.error = text
        host.served.get("/fails")
        host.fire_with(f"Hostile{number}", text)
        hold = {"matchers": [f"node={name}"], "by": text[:400], "comment": text[:400]}
        assert host.call("POST", "silences", json=hold).status_code == 200
    host.wait_for_alerts(*(f"Hostile{number}" for number in range(len(HOSTILE))))
    for number, text in enumerate(HOSTILE.values()):  # counted once more after a tick, they have a rate
        host.served.client.request("GET", f"/{number}/{text}")
    return host


def test_texts_of_others_are_inert_and_break_no_layout(open_tab: Any, hostile_host: Installation) -> None:
    page = open_tab()
    sign_in(page, hostile_host.url, TOKEN)
    for section in ("alerts", "checks", "errors", "state"):
        expect(page.locator(f"#{section}")).to_contain_text("alert(1)", timeout=SOON_MS)
    expect(page.locator("#http")).to_contain_text("<script>", timeout=SOON_MS)
    assert page.locator("img[src=x], section script").count() == 0
    assert "\u202e" not in page.locator("main").inner_text()
    found: dict[int, list[str]] = {}
    for width in (320, 1280, 3840):
        page.set_viewport_size({"width": width, "height": 900})
        page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
        found.update({width: widest(page)} if overflow(page) else {})
    assert found == {}, json.dumps(found)


@pytest.mark.parametrize("failing", [False, True], ids=["an empty host", "everything failing"])
def test_people_with_disabilities_meet_no_serious_barrier(
    open_tab: Any, request: pytest.FixtureRequest, failing: bool
) -> None:
    host = request.getfixturevalue("hostile_host" if failing else "host")
    host.wait_for_alerts("Steady")
    for options in ({"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 320, "height": 640}}):
        page = open_tab(**options)
        sign_in(page, host.url, TOKEN)
        expect(page.locator("#alerts")).to_contain_text("Hostile3" if failing else "Steady")
        page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
        assert serious_faults(page) == [], options


def test_viewer_sees_no_buttons_and_changes_nothing(open_tab: Any, host: Installation) -> None:
    host.wait_for_alerts("Steady")
    page = open_tab()
    sign_in(page, host.url, VIEWER)
    expect(page.locator("#alerts")).to_contain_text("Steady")
    assert page.locator("[data-action]").count() == 0
    open_tab.expected += "|status of 403"
    fetch = """path => fetch(path, {method: "POST", body: "{}", headers: {"Content-Type": "application/json"}})
        .then(answer => answer.status)"""
    assert page.evaluate(fetch, "maintenance") == 403
    assert host.call("GET", "api/v2/silences").json() == []


def test_pages_of_other_origins_change_nothing(open_tab: Any, host: Installation, page: Page) -> None:
    open_tab.expected = "."
    forms = [
        f'<form id="f{number}" method="post" enctype="{kind}" action="{host.url}{path}" target="frame{number}">'
        f'<input name=\'{{"comment":"\' value=\'"}}\'></form><iframe name="frame{number}"></iframe>'
        for number, (kind, path) in enumerate(
            [("text/plain", "maintenance"), ("multipart/form-data", "-/reload"), ("text/plain", "logout")]
        )
    ]
    with Stranger("".join(forms)) as stranger:
        # One is of the same site, so that the cookie goes along; the other is not.
        for name in ("127.0.0.1", "localhost"):
            visited = page.context.new_page()
            visited.goto(f"http://{name}:{stranger.port}/")
            for number in range(len(forms)):
                visited.evaluate(f"document.getElementById('f{number}').submit()")
            visited.evaluate(
                """url => Promise.allSettled([
                    fetch(url + "maintenance", {method: "POST", mode: "no-cors", credentials: "include", body: new Blob(["{}"])}),
                    fetch(url + "-/reload", {method: "POST", mode: "no-cors", credentials: "include"}),
                    fetch(url + "maintenance", {method: "POST", credentials: "include", body: "{}",
                        headers: {"Content-Type": "application/json"}}),
                    fetch(url + "loggers/root", {method: "PUT", credentials: "include", body: '{"level": "DEBUG"}'}),
                ])""",
                host.url,
            )
            read = "url => fetch(url, {credentials: 'include'}).then(answer => answer.text()).catch(() => '')"
            assert visited.evaluate(read, f"{host.url}page") == ""
            visited.wait_for_load_state("networkidle")
            visited.close()
    assert host.call("GET", "api/v2/silences").json() == []
    actions = [line for line in host.served.log.all_lines() if line.get("event_type") == "operator_action"]
    assert {line["endpoint"] for line in actions} <= {"/login"}
    page.reload()
    expect(page.locator("#state")).to_be_visible()


class Stranger:
    """A server of another origin, with one page."""

    def __init__(self, body: str) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<!doctype html><title>x</title>" + body.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
