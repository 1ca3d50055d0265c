"""Signing a browser in and out: the page, the cookie, what it opens, and what it never does."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI
from starlette.requests import Request

from ordinaut_ext_observability.web.sign_in import set_cookie

MOUNT = "/ext/observability"
TOKEN = 'an operator\'s; "token" =%41+,\\0123'
VIEWER = "a-viewers-token-0123456789"
COOKIE = "ordinaut_observability"
OWN = {"Sec-Fetch-Site": "same-origin"}
PAGE = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
FORM = "application/x-www-form-urlencoded"
ELSEWHERE = r"""//evil.example \\evil.example /\evil.example https://evil.example https:evil.example javascript:alert(1)
    %2f%2fevil.example ..%2f ../tasks routes/../../tasks ./../x /..//evil x//evil.example @evil.example .evil ä /tasks
    x%0d%0aSet-Cookie:a=1 routes#x http:/\evil.example"""


@pytest.fixture
def served(serve: Any) -> Any:
    return serve(FastAPI(), OPERATOR_TOKEN=TOKEN, VIEWER_TOKEN=VIEWER)


def sign_in(served: Any, token: str = TOKEN, to: str = "", **headers: str) -> Any:
    return served.post(f"{MOUNT}/login", data={"token": token, "to": to}, headers={**PAGE, **OWN, **headers})


def change(served: Any, headers: dict[str, str]) -> int:
    return int(served.client.put(f"{MOUNT}/loggers/host", json={"level": "DEBUG"}, headers=headers).status_code)


class Form(HTMLParser):
    """The form of a page: where it leads, and its fields."""

    def __init__(self, page: Any) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.action = ""
        self.feed(page.text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        if tag == "form":
            self.action = given["action"]
        elif tag == "input":
            self.fields[given["name"]] = given.get("value", "")


def test_browser_signs_in_on_the_page_it_asked_for_and_comes_back_to_it(served: Any) -> None:
    for path in (
        "/",
        "/?range=15m",
        "/config",
        "/routes?window=1h&x=%3Cb%3E",
        "/api/v1/query?query=up%7Ba%3D%22b%22%7D",
    ):
        served.client.cookies.clear()
        page = served.get(MOUNT + path, headers=PAGE)
        form = Form(page)
        assert (page.status_code, "www-authenticate" in page.headers) == (401, False)
        login = urljoin(str(page.url), form.action)
        assert login == f"{served.url}{MOUNT}/login"
        done = served.post(login, data={**form.fields, "token": f" {TOKEN}\n"}, headers=OWN)
        assert (done.status_code, done.headers["cache-control"]) == (303, "no-store")
        there = urljoin(login, done.headers["location"])
        assert there == f"{served.url}{MOUNT}{path}"
        assert served.get(there, headers=PAGE).status_code == 200


def test_cookie_is_for_this_server_and_path_alone_and_no_script_reads_it(served: Any) -> None:
    assert re.fullmatch(rf"{COOKIE}=[\w%.~-]+; HttpOnly; SameSite=Strict", sign_in(served).headers["set-cookie"])
    (cookie,) = served.client.cookies.jar
    assert (cookie.name, cookie.path, cookie.secure, cookie.expires) == (COOKIE, MOUNT, False, None)


@pytest.mark.parametrize(("trusted", "secure"), [("127.0.0.1", True), ("192.0.2.1", False)])
def test_cookie_is_secure_over_https_as_far_as_a_proxy_is_trusted(serve: Any, trusted: str, secure: bool) -> None:
    served = serve(FastAPI(), {"proxy_headers": True, "forwarded_allow_ips": trusted}, OPERATOR_TOKEN=TOKEN)
    header = sign_in(served, **{"X-Forwarded-Proto": "https"}).headers["set-cookie"]
    assert ("; Secure" in header) is secure


def test_cookie_opens_what_the_token_opens_unless_there_is_a_header(served: Any) -> None:
    sign_in(served)
    assert served.get(f"{MOUNT}/config").status_code == 200
    assert served.client.head(f"{MOUNT}/config").status_code == 200
    assert "note" not in served.get(f"{MOUNT}/health").json()
    assert served.get(f"{MOUNT}/config", headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert served.get(f"{MOUNT}/config", headers={"Authorization": ""}).status_code == 401


def test_change_by_cookie_and_a_form_need_a_page_of_ours(served: Any) -> None:
    sign_in(served)
    for headers, status in (
        (OWN, 200),
        ({"Origin": served.url}, 200),
        ({}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": served.url}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ):
        assert (headers, change(served, headers)) == (headers, status)
        form = served.post(f"{MOUNT}/login", data={"token": TOKEN}, headers=headers)
        assert (form.status_code, "set-cookie" in form.headers) == ((303, True) if status == 200 else (403, False))
    assert served.post(f"{MOUNT}/logout", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert served.get(f"{MOUNT}/config").status_code == 200


def test_viewer_signs_in_and_changes_nothing(served: Any) -> None:
    sign_in(served, VIEWER)
    assert (served.get(f"{MOUNT}/config").status_code, change(served, OWN)) == (200, 403)
    access = served.face._endpoint_context.access
    for token in (TOKEN, VIEWER, "wrong", ""):
        value = set_cookie(Request({"type": "http", "scheme": "http", "path": "/", "headers": []}), token)
        for name, sent in (("cookie", f"a=b; {value};c"), ("authorization", f"Bearer {token}")):
            request = Request({"type": "http", "headers": [(name.encode(), sent.encode())]})
            assert (access.may_change(request), access.sees_details(request)) == (
                token == TOKEN,
                token in (TOKEN, VIEWER),
            )


def test_signing_out_ends_the_cookie(served: Any) -> None:
    sign_in(served)
    page = served.post(f"{MOUNT}/logout", headers=OWN)
    assert (page.status_code, "Signed out." in page.text, Form(page).action) == (200, True, "login")
    assert list(served.client.cookies.jar) == []
    assert served.get(f"{MOUNT}/config").status_code == 401


def test_signing_out_with_a_cookie_that_has_ended_leads_to_the_page_and_not_back_to_the_form(served: Any) -> None:
    page = served.post(f"{MOUNT}/logout", headers={**PAGE, **OWN, "Cookie": f"{COOKIE}=an-earlier-token"})
    assert (page.status_code, Form(page).fields["to"]) == (401, "")


def test_cookie_of_an_earlier_token_is_as_none_and_ended(served: Any) -> None:
    for path in ("/", "/config", "/api/v1/query?query=1", "/loggers/host"):
        sign_in(served)
        (cookie,) = served.client.cookies.jar
        cookie.value = "an-earlier-token-0123456789"
        api = served.get(MOUNT + path)
        assert (api.status_code, api.headers["content-type"]) == (401, "application/json")
        assert "www-authenticate" not in api.headers  # the page's script asks; a window would open
        assert "A token is needed." in served.get(MOUNT + path, headers=PAGE).text
        assert list(served.client.cookies.jar) == []
    served.expect("ordinaut_observability_access_refused_total", 8, tier="operator", reason="missing_token")


def test_sign_in_leads_nowhere_else(served: Any) -> None:
    for to in (*ELSEWHERE.split(), "x\u2028y", "?a\r\nSet-Cookie:a=1", "\t//evil.example", "a" * 50_000 + "!"):
        done = sign_in(served, to=to)
        assert (to, done.status_code, done.headers["location"]) == (to, 303, "./")
        assert len(done.headers.get_list("set-cookie")) == 1


def test_wrong_token_is_said_on_the_form_counted_and_told(served: Any) -> None:
    tokens = ["wrong", TOKEN[:-1], "ä" * 20, "\udcff\x00", VIEWER + "x", "", " "]
    for token in tokens:
        body = "to=routes&token=" + "".join(f"%{byte:02x}" for byte in token.encode("utf-8", "surrogatepass"))
        headers = {**OWN, "Content-Type": FORM}
        page = served.post(f"{MOUNT}/login?token={VIEWER}", content=body, headers=headers)
        said = "The token is wrong." if token.strip() else "A token is needed."
        assert (page.status_code, said in page.text, Form(page).fields["to"]) == (401, True, "routes")
        assert "www-authenticate" not in page.headers and "set-cookie" not in page.headers
    served.expect("ordinaut_observability_access_refused_total", 5, tier="operator", reason="wrong_token")
    served.expect("ordinaut_observability_access_refused_total", 2, tier="operator", reason="missing_token")
    assert served.log.line(event_type="access_refused")["security_event"] is True


def test_after_twenty_wrong_tokens_the_page_says_so_and_the_right_one_signs_in(served: Any) -> None:
    pages = [sign_in(served, f"wrong-{number}") for number in range(25)]
    assert [page.status_code for page in pages] == [401] * 20 + [429] * 5
    assert "wait a minute" in pages[-1].text and Form(pages[-1]).action == "login"
    assert served.get(f"{MOUNT}/config", headers=PAGE).status_code == 429
    assert len(served.log.lines(2, event_type="access_refused")) == 2
    assert sign_in(served).status_code == 303
    assert served.log.line(event_type="operator_action")["endpoint"] == "/login"


def test_form_of_any_kind_is_answered_and_a_token_in_the_address_is_none(served: Any) -> None:
    for body in (b"", b"x" * 70_000, b"&".join([b"a=1"] * 300), b"token=\xff%ff%"):
        page = served.post(f"{MOUNT}/login?token={VIEWER}", content=body, headers={**OWN, "Content-Type": FORM})
        assert (page.status_code in (400, 401), Form(page).action) == (True, "login")


def test_without_a_token_a_browser_is_told_what_to_set(serve: Any) -> None:
    served = serve(FastAPI())
    for page in (served.get(f"{MOUNT}/", headers=PAGE), sign_in(served)):
        assert (page.status_code, "<form" in page.text) == (404, False)
        assert "set ORDINAUT_OBS_OPERATOR_TOKEN, 16 characters or more" in page.text


def test_page_allows_its_own_style_and_script_alone(served: Any) -> None:
    page = served.get(f"{MOUNT}/?%22%3E%3Cscript%3E", headers={**PAGE, "Sec-Fetch-Site": '"><script>'})
    policy = page.headers["content-security-policy"]
    parts = re.findall(r"<(style|script)>(.*?)</\1>", page.text, re.DOTALL)
    assert ([kind for kind, _ in parts], page.text.count("<script")) == (["style", "script"], 1)
    for kind, text in parts:
        assert f"{kind}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    assert policy.removesuffix("; frame-ancestors 'none'") + '"' in page.text  # a host may replace the header
    assert (page.headers["referrer-policy"], page.headers["cache-control"]) == ("same-origin", "no-store")


def test_programs_are_answered_as_before(served: Any) -> None:
    for accept in ("*/*", "application/json"):
        answer = served.get(f"{MOUNT}/config", headers={"Accept": accept})
        assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
        assert "Basic" in answer.headers["www-authenticate"]
    script = served.get(f"{MOUNT}/config", headers={**OWN, "Sec-Fetch-Mode": "cors"})
    assert (script.json()["error"], "www-authenticate" in script.headers) == ("unauthorized", False)
    head = served.client.head(f"{MOUNT}/config", headers=PAGE)
    assert (head.status_code, head.content, head.headers["content-type"][:9]) == (401, b"", "text/html")


def test_management_port_has_no_sign_in(serve: Any) -> None:
    served = serve(FastAPI(), OPERATOR_TOKEN=TOKEN, MANAGEMENT_PORT="0")
    host, port = served.runtime.ports.management.address
    for path in ("/login", f"{MOUNT}/login"):
        assert served.post(f"http://{host}:{port}{path}", data={"token": TOKEN}, headers=OWN).status_code == 404


def test_token_is_in_no_line_and_no_answer(serve: Any, capfd: pytest.CaptureFixture[str]) -> None:
    right, wrong = "canary-0123456789-right", "canary-0123456789-wrong"
    served = serve(FastAPI(), OPERATOR_TOKEN=right, CONFIGURE_LOGGING="true", INCLUDE_OWN_ENDPOINTS="true")
    served.runtime.logs.setup.configure("DEBUG")
    answers = [sign_in(served, wrong), sign_in(served, right), sign_in(served, right)]
    answers += [served.get(f"{MOUNT}{path}") for path in ("/", "/config", "/none", "/errors", "/requests/slow")]
    answers += [served.post(f"{MOUNT}/logout", headers=OWN)]
    served.log.lines(2, event_type="operator_action")
    served.runtime.logs.writer.flush()
    told = "".join(answer.text for answer in answers) + served.log.path.read_text() + "".join(capfd.readouterr())
    assert "canary-0123456789" not in told
