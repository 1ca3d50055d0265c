"""The kinds of secrets and personal data that are found in texts, as data.

A kind's hint tells quickly that a text may hold it; it is read by RE2 and by `re`, and also holds in the text of a JSON
string. Its pattern then finds the place: in linear time, as what repeats is possessive, and begins where it could not
have begun before.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from ordinaut_ext_observability.scrub.checks import is_card, is_iban, is_phone, is_random
from ordinaut_ext_observability.scrub.keys import NAME_PARTS, is_secret, takes_line

Span = tuple[int, int]
Found = re.Match[str]

MARKER = r"\[REDACTED_[A-Z_]{1,30}(?::[0-9a-f]{8})?\]"
"""Pattern of what stands in place of a secret."""


def _group(found: Found) -> Span | None:
    """The last group, else all of it."""
    return found.span(found.lastindex or 0)


def _if(is_valid: Callable[[str], bool]) -> Callable[[Found], Span | None]:
    return lambda found: found.span(found.lastindex or 0) if is_valid(found[found.lastindex or 0]) else None


class Kind(NamedTuple):
    """One kind: how it is called in its marker, and how it is found."""

    name: str
    hint: str
    pattern: str
    span: Callable[[Found], Span | None] = _group
    """Gives the place of the secret; None where the match is none."""
    person: bool = False
    """True where it tells who somebody is."""

    @property
    def expression(self) -> re.Pattern[str]:
        """The pattern, made when it is first needed."""
        return compiled(self.pattern)


compiled = cache(re.compile)

_SPACE = r"(?:\s|\\[nrt])"
_QUOTED = r"[bu]?\"(?:[^\"\\]|\\.)*+\"?+|[bu]?'(?:[^'\\]|\\.)*+'?+"
_VALUE = rf"(?s)({_QUOTED}|(?:{MARKER}|[^\s,;&}}\]])++)"
_LINE = rf"(?si)(?:(?:bearer|basic)\s{{1,3}})?+({_QUOTED}|[^\r\n]++)"
_NAME = r"(?:[\[(]b?[\"']([\w-]++)[\"'],|(?<![\w-])([\w-]++)\\{0,4}[\"']?+\s{0,20}+[=:]>?)\s{0,20}+"


_USER_INFO = r"(?s)://([^:/?#@]*+:(?!\d{1,5}[/?#]).*|[^/?#]+)@"


def _value_of(found: Found) -> Span | None:
    """The place of what stands after the name of a secret."""
    name = found[found.lastindex or 0]
    if not is_secret(name):
        return None
    value = compiled(_LINE if takes_line(name) else _VALUE).match(found.string, found.end())
    return value.span(1) if value else None


def _user_info(found: Found) -> Span | None:
    """The place of user and password in a URL. A password may hold any character: the last @ ends it."""
    inside = compiled(_USER_INFO).match(found[0])
    return (found.start() + inside.start(1), found.start() + inside.end(1)) if inside else None


_SQL = rf"(?i)\b(?:insert{_SPACE}+into|delete{_SPACE}+from|update{_SPACE}+\S+{_SPACE}+set|values{_SPACE}*\("
_SQL += rf"|where{_SPACE}+\S+{_SPACE}*(?:[=<>]|in\b|i?like\b)|password{_SPACE}+')"
_NO_DIGITS_BEFORE, _NO_DIGITS_AFTER = r"(?<![A-Za-z0-9])(?<!\d[.-])", r"(?![A-Za-z0-9])(?![.-]\d)"
_NOT_BEFORE = r"(?:^|[^A-Za-z0-9]|\\[nrt])"
_LABELS = r"(?!(?:mailto|e?mail|to|from|cc|bcc|user|sender|owner|author|contact):)"
_TOKENS = (
    r"gh[pousr]_\w{16,}", r"github_pat_\w{20,}", r"glpat-[\w-]{16,}", r"sk-[\w-]{16,}", r"[sr]k_(?:live|test)_\w{10,}",
    r"whsec_\w{16,}", r"A(?:KIA|SIA)[0-9A-Z]{12,}", r"xox[abeprs]-[\w-]{8,}", r"xapp-[\w-]{16,}", r"AIza[\w-]{30,}",
    r"ya29\.[\w-]{16,}", r"npm_\w{30,}", r"pypi-[\w-]{16,}", r"SG\.[\w-]{16,}\.[\w-]{16,}", r"hf_\w{20,}",
    r"dop_v1_\w{30,}", r"shp(?:at|ss|ca|pa)_\w{20,}", r"\d{8,10}:AA[\w-]{30,}",
)  # fmt: skip
"""What begins as the tokens of GitHub, GitLab, OpenAI, Stripe, AWS, Slack, Google, npm, PyPI, SendGrid, Hugging Face,
DigitalOcean, Shopify and Telegram do."""

KINDS = (
    Kind(
        "KEY", r"-----BEGIN [A-Z ]*PRIVATE KEY", r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*KEY-----|\Z)"
    ),
    Kind("SQL", r"\[parameters: |\)=\(|row contains \(", r"(?:\[parameters: |\)=\(|row contains \()([^\r\n]++)"),
    Kind(
        "SECRET",
        rf"(?i){NAME_PARTS}[\w-]{{0,40}}(?:\\*[\"']{{0,1}}{_SPACE}{{0,20}}[=:]|\\*[\"'],{_SPACE}{{0,20}}b?\\*[\"'])",
        _NAME,
        _value_of,
    ),
    Kind(
        "SECRET",
        r"[?&](?:key|sig|sid|hmac|code)=",
        r"[?&](?:(?:key|sig|sid|hmac)=|code=(?=[^\s&#]{12}))([^\s&#'\"<>]++)",
    ),
    Kind("SQL", _SQL, r"'((?:[^'\\]|''|\\.)++)'?+"),
    Kind(
        "WEBHOOK",
        r"hooks\.slack\.com/|api\.telegram\.org/bot|/api/webhooks/",
        r"(?:hooks\.slack\.com/(?:services|workflows)/|api\.telegram\.org/bot|discord(?:app)?\.com/api/webhooks/)([\w/:-]++)",
    ),
    Kind("PASSWORD", r"[^\s\"]@", r"://[^\s'\"<>]++", _user_info),
    Kind("PASSWORD", r":[^\s@]{1,100}@", rf"(?<![\w.+-]){_LABELS}[\w.+-]++:(?!//)([^\s@/:\"']++)@(?=[\w.-])"),
    Kind(
        "CREDENTIAL",
        r"(?i)(?:bearer|basic)\s{1,3}[A-Za-z0-9._~+/=-]{8}",
        r"(?i)\b(?:bearer|basic)\s{1,3}([A-Za-z0-9._~+/=-]{8,}+)",
        _if(is_random),
    ),
    Kind("JWT", r"eyJ[\w-]{8}", r"(?<![A-Za-z0-9-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?"),
    Kind(
        "TOKEN",
        rf"{_NOT_BEFORE}(?:{'|'.join(token.replace(',}', '}') for token in _TOKENS)})",
        rf"(?<![A-Za-z0-9])(?:{'|'.join(token.replace(',}', ',}+') for token in _TOKENS)})",
        _if(is_random),
    ),
    Kind(
        "EMAIL",
        r"[^\s\"](?:@|%40)[^\s\"@]{1,100}\.[^\s\"@]",
        r"(?<![\w.+~-])[\w.+~-]++(?:@|%40)(?:[\w-]++\.(?=\w))++[^\W\d_][\w-]++",
        person=True,
    ),
    Kind(
        "IBAN",
        r"[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2}",
        r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])",
        _if(is_iban),
        person=True,
    ),
    Kind(
        "CREDIT_CARD",
        rf"{_NOT_BEFORE}[2-6]\d{{3}}(?:\d{{10}}|[ -]\d{{4}}[ -]\d{{4}}[ -]\d{{4}}|[ -]\d{{6}}[ -]\d{{4}})",
        rf"{_NO_DIGITS_BEFORE}(?<![0-9a-f]{{8}}-)[2-6]\d{{3}}(?:\d{{10,15}}|([ -])\d{{4}}\1\d{{4}}\1\d{{4}}"
        rf"|[ -]\d{{6}}[ -]\d{{4,5}}){_NO_DIGITS_AFTER}(?!-[0-9a-f]{{2}})",
        lambda found: found.span() if is_card(found[0]) else None,
        person=True,
    ),
    Kind(
        "SSN",
        r"\d{3}-\d{2}-\d{4}",
        # Areas and groups that there are: https://secure.ssa.gov/poms.nsf/lnx/0110201035
        rf"{_NO_DIGITS_BEFORE}(?!000|666|9)\d{{3}}-(?!00)\d\d-(?!0000)\d{{4}}{_NO_DIGITS_AFTER}",
        person=True,
    ),
    Kind(
        "PHONE",
        r"\d{3}-\d{3}-\d{4}|\(\d{3}\) {0,1}\d{3}-\d{4}|\+[1-9][0-9 .()-]{7}",
        rf"{_NO_DIGITS_BEFORE}(?:\d{{3}}-\d{{3}}-\d{{4}}|\(\d{{3}}\) ?\d{{3}}-\d{{4}}"
        rf"|\+[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,14}}\)?){{1,6}}){_NO_DIGITS_AFTER}",
        _if(is_phone),
        person=True,
    ),
)
"""Every kind, in the order in which they are looked for: what names a secret comes before what looks like one."""
