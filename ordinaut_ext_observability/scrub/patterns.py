"""The kinds of secrets and personal data that are found in texts, as data.

A kind's needs and its hint tell quickly that a text may hold it, also as a string in JSON. Its pattern then finds the
place, in linear time: what repeats is possessive, and begins only where it could not have begun before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ordinaut_ext_observability.scrub.checks import is_card, is_iban, is_phone, is_random
from ordinaut_ext_observability.scrub.keys import NAME_NEEDS, NAME_PARTS, is_secret

compiled = cache(re.compile)

MARKER = r"\[REDACTED_[A-Z_]{1,30}(?::[0-9a-f]{8})?\]"
"""Pattern of what stands in place of a secret."""

Span = tuple[int, int]
Found = re.Match[str]


def _where(is_valid: Callable[[str], bool] = lambda _: True) -> Callable[[Found], Span | None]:
    """Gives the place of the last group, or of the whole match, where the text there is valid."""
    return lambda found: found.span(found.lastindex or 0) if is_valid(found[found.lastindex or 0]) else None


class Kind(NamedTuple):
    """One kind: how it is called in its marker, and how it is found."""

    name: str
    needs: str
    """Texts in small letters, of which it has one."""
    hint: str
    """Pattern for RE2 and for `re`."""
    pattern: str
    """Pattern for `re`."""
    span: Callable[[Found], Span | None] = _where()
    """Gives the place of the secret; None where the match is none."""
    person: bool = False
    """True where it tells who somebody is."""


_QUOTED = r"[bu]?\"(?:[^\"\\]|\\.)*+\"?+|[bu]?'(?:[^'\\]|\\.)*+'?+"
_VALUE = rf"(?s)({_QUOTED}|(?:{MARKER}|[^\s,;&}}\]])++)"
_LINE = rf"(?si)(?:(?:bearer|basic)\s{{1,3}})?+({_QUOTED}|[^\r\n]++)"
_USER_INFO = r"(?s)://([^:/?#@]*+:(?!\d{1,5}[/?#]).*|[^/?#]+)@"


def _value_of(found: Found) -> Span | None:
    """The place of what stands after the name of a secret."""
    name = found[found.lastindex or 0]
    if not is_secret(name):
        return None
    is_header = name.lower().endswith(("authorization", "cookie"))
    value = compiled(_LINE if is_header else _VALUE).match(found.string, found.end())
    return value.span(1) if value else None


def _user_info(found: Found) -> Span | None:
    """The place of user and password in a URL. A password may hold any character: the last @ ends it."""
    inside = compiled(_USER_INFO).match(found[0])
    return (found.start() + inside.start(1), found.start() + inside.end(1)) if inside else None


_SPACE = r"(?:\s|\\[nrt])"
_SQL = (
    rf"(?i)\b(?:insert{_SPACE}+into|delete{_SPACE}+from|update{_SPACE}+\S+{_SPACE}+set|values{_SPACE}*\("
    rf"|where{_SPACE}+\S+{_SPACE}*(?:[=<>]|in\b|i?like\b)|password{_SPACE}+')"
)
_NAMED = rf"(?i){NAME_PARTS}[\w-]{{0,40}}(?:\\*[\"']{{0,1}}{_SPACE}{{0,20}}[=:]|\\*[\"'],{_SPACE}{{0,20}}b?\\*[\"'])"
_NAME = r"(?:[\[(]b?[\"']([\w-]++)[\"'],|(?<![\w-])([\w-]++)\\{0,4}[\"']?+\s{0,20}+[=:]>?)\s{0,20}+"
_LABELS = r"(?!(?:mailto|e?mail|to|from|cc|bcc|user|sender|owner|author|contact):)"
_BEFORE, _AFTER = r"(?<![A-Za-z0-9])(?<!\d[.-])", r"(?![A-Za-z0-9])(?![.-]\d)"  # a number, and no part of a longer one

# fmt: off
_TOKENS = (  # of GitHub, GitLab, OpenAI, Stripe, AWS, Slack, Google, npm, PyPI, SendGrid, Hugging Face, DigitalOcean, …
    r"gh[pousr]_\w{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{10,}|whsec_\w{16,}"
    r"|A(?:KIA|SIA)[0-9A-Z]{12,}|xox[abeprs]-[\w-]{8,}|xapp-[\w-]{16,}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|npm_\w{30,}"
    r"|pypi-[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}|hf_\w{20,}|dop_v1_\w{30,}|shp(?:at|ss|ca|pa)_\w{20,}|\d{8,10}:AA[\w-]{30,}"
)
_BEGINNINGS = "gh github_pat_ glpat- sk- k_ whsec_ akia asia xox xapp- aiza ya29. npm_ pypi- sg. hf_ dop_v1_ shp :aa"

KINDS = (
    Kind("KEY", "private", r"-----BEGIN [A-Z ]*PRIVATE KEY",
         r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*KEY-----|\Z)"),
    Kind("SQL", "[parameters: )=( contains", r"\[parameters: |\)=\(|row contains \(",
         r"(?:\[parameters: |\)=\(|row contains \()([^\r\n]++)"),
    Kind("SECRET", NAME_NEEDS, _NAMED, _NAME, _value_of),
    Kind("SECRET", "?key= &key= sig= sid= hmac= code=", r"[?&](?:key|sig|sid|hmac|code)=",
         r"[?&](?:(?:key|sig|sid|hmac)=|code=(?=[^\s&#]{12}))([^\s&#'\"<>]++)"),
    Kind("SQL", "'", _SQL, r"'((?:[^'\\]|''|\\.)++)'?+"),
    Kind("WEBHOOK", "hooks.slack.com api.telegram.org /webhooks/",
         r"hooks\.slack\.com/|api\.telegram\.org/bot|/api/webhooks/",
         r"(?:hooks\.slack\.com/(?:services|workflows)/|api\.telegram\.org/bot|discord(?:app)?\.com/api/webhooks/)([\w/:-]++)"),
    Kind("PASSWORD", "://", r"[^\s\"]@", r"://[^\s'\"<>]++", _user_info),
    Kind("PASSWORD", "@", r":[^\s@]{1,100}@", rf"(?<![\w.+-]){_LABELS}[\w.+-]++:(?!//)([^\s@/:\"']++)@(?=[\w.-])"),
    Kind("CREDENTIAL", "bearer basic", r"(?i)(?:bearer|basic)\s{1,3}[A-Za-z0-9._~+/=-]{8}",
         r"(?i)\b(?:bearer|basic)\s{1,3}([A-Za-z0-9._~+/=-]{8,}+)", _where(is_random)),
    Kind("JWT", "eyj", r"eyJ[\w-]{8}", r"(?<![A-Za-z0-9-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?"),
    Kind("TOKEN", _BEGINNINGS, _TOKENS.replace(",}", "}"), rf"(?<![A-Za-z0-9])(?:{_TOKENS.replace(',}', ',}+')})",
         _where(is_random)),
    Kind("EMAIL", "@ %40", r"[^\s\"](?:@|%40)[^\s\"@]{1,100}\.[^\s\"@]",
         r"(?<![\w.+~-])[\w.+~-]++(?:@|%40)(?:[\w-]++\.(?=\w))++[^\W\d_][\w-]++", person=True),
    Kind("IBAN", "", r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2}",
         r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
         _where(is_iban), person=True),
    Kind("CREDIT_CARD", "", r"(?:^|\D)[2-6]\d{3}(?:\d{10}|(?:[ -]\d{4}){3}|[ -]\d{6}[ -]\d{4})",
         rf"{_BEFORE}(?<![0-9a-f]{{8}}-)[2-6]\d{{3}}(?:\d{{10,15}}|(?:[ -]\d{{4}}){{3}}"
         rf"|[ -]\d{{6}}[ -]\d{{4,5}}){_AFTER}(?!-[0-9a-f]{{2}})", _where(is_card), person=True),
    # Areas and groups that there are: https://secure.ssa.gov/poms.nsf/lnx/0110201035
    Kind("SSN", "", r"\d{3}-\d{2}-\d{4}",
         rf"{_BEFORE}(?!000|666|9)\d{{3}}-(?!00)\d\d-(?!0000)\d{{4}}{_AFTER}", person=True),
    Kind("PHONE", "", r"\d{3}-\d{3}-\d{4}|\(\d{3}\) {0,1}\d{3}-\d{4}|\+[1-9][0-9 .()-]{7}",
         rf"{_BEFORE}(?:\d{{3}}-\d{{3}}-\d{{4}}|\(\d{{3}}\) ?\d{{3}}-\d{{4}}"
         rf"|\+[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,14}}\)?){{1,6}}){_AFTER}", _where(is_phone), person=True),
)
"""Every kind, in the order in which they are looked for: what names a secret comes before what looks like one."""
