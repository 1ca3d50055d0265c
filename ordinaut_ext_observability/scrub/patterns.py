"""The kinds of secrets and personal data that are found in texts, as data.

A kind's needs and its hint tell quickly that a text may hold it, also as a string in JSON. Its pattern then finds the
place, in linear time: what repeats is possessive, and begins only where it could not have begun before.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache
from typing import NamedTuple

from ordinaut_ext_observability.background.fork import reset_in_forked_child
from ordinaut_ext_observability.scrub.keys import NAME_NEEDS, NAME_PARTS, is_secret

compiled = cache(re.compile)

MARKER = r"\[REDACTED_[A-Z_]{1,30}(?::[0-9a-f]{8})?\]"
"""Pattern of what stands in place of a secret."""

Span = tuple[int, int]
Found = re.Match[str]

# Issuers by the first digits, with the lengths of their numbers: Visa, Mastercard, American Express, Discover, JCB,
# Diners Club, UnionPay. Source: ISO/IEC 7812, https://en.wikipedia.org/wiki/Payment_card_number
_CARD = re.compile(
    r"4\d{15}|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}"
    r"|(?:6011|64[4-9]\d|65\d\d|35(?:2[89]|[3-8]\d))\d{12}|3(?:0[0-5]|[689]\d)\d{11}|62\d{14,17}"
)
_SUM_WHEN_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)

# Lengths of account numbers, with their countries. Source: SWIFT, IBAN Registry.
_IBAN_LENGTHS = {
    country: group[:2]
    for group in re.findall(
        r"\w+",
        "15NO 16BE 18DKFIFKFOGLNLSD 19MKSI 20ATBAEEKZLTLUMNXK 21CHHRLILV 22BGBHCRDEGBGEIEMERSVA 23AEGIILIQOMSOTL "
        "24ADCZESMDPKROSASESKTNVG 25LYPTST 26ISTR 27BIDJFRGRITMCMRSM 28ALAZBYCYDOGTHNHULBNIPLSV 29BREGPSQAUA "
        "30JOKWMUYE 31MTSC 32LC 33RU",
    )
    for country in re.findall("[A-Z]{2}", group)
}


def is_card(text: str) -> bool:
    """True for the number of a payment card, spaces and hyphens left out: an issuer's, with Luhn's check digit."""
    digits = text.replace(" ", "").replace("-", "")
    if not _CARD.fullmatch(digits):
        return False
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_SUM_WHEN_DOUBLED[number] for number in numbers[1::2])) % 10 == 0


def is_iban(text: str) -> bool:
    """True for an account number: of its country's length, and 1 modulo 97 with letters as numbers (ISO 13616)."""
    number = text.replace(" ", "")
    if _IBAN_LENGTHS.get(number[:2]) != str(len(number)):
        return False
    return int("".join(str(int(letter, 36)) for letter in number[4:] + number[:4])) % 97 == 1


def is_random(text: str) -> bool:
    """True for what is no word: it has a digit, or capitals after small letters."""
    return any(map(str.isdigit, text)) or not (text.islower() or text.isupper() or text.istitle())


def _where(is_valid: Callable[[str], bool] = lambda _: True) -> Callable[[Found], Span | None]:
    """The place of the last group, or of the whole match, where the text there is valid."""
    return lambda found: found.span(found.lastindex or 0) if is_valid(found[found.lastindex or 0]) else None


class Kind(NamedTuple):
    """One kind of secret."""

    name: str
    needs: str  # texts in small letters, of which it has one
    hint: str  # for RE2 and `re`
    pattern: str  # for `re`
    span: Callable[[Found], Span | None] = _where()  # gives the secret's place in a match, None where there is none
    person: bool = False  # it tells who somebody is


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
_BRACKETS = r"(?:[\[\]]|%5[BDbd]){0,2}"  # of forms: user[password]=
_NAMED = (
    rf"(?i){NAME_PARTS}[\w-]{{0,40}}(?:\\*[\"']{{0,1}}{_BRACKETS}{_SPACE}{{0,20}}[=:]"
    rf"|\\*[\"'],{_SPACE}{{0,20}}b?\\*[\"'])|--[\w-]{{0,20}}{NAME_PARTS}[\w-]{{0,20}}{_SPACE}"
)
_NAME = (
    r"(?:(?:[\[(]b?[\"']|[\"']--)([\w-]++)[\"'],|(?<![\w-])--([a-z][\w-]*+)(?=\s{1,20}+[^\s-])"
    rf"|(?<![\w-])([\w-]++)\\{{0,4}}[\"']?+{_BRACKETS}+\s{{0,20}}+[=:]>?)\s{{0,20}}+"
)
_LABELS = r"(?!(?:mailto|e?mail|to|from|cc|bcc):)"
_BEFORE, _AFTER = r"(?<![A-Za-z0-9])(?<!\d[.-])", r"(?![A-Za-z0-9])(?![.-]\d)"  # a number, and no part of a longer one

# fmt: off
_TOKENS = (  # of GitHub, GitLab, OpenAI, Stripe, AWS, Slack, Google, npm, PyPI, SendGrid, Discord, …
    r"gh[pousr]_\w{16,}|github_pat_\w{20,}|glpat-[\w-]{16,}|sk-[\w-]{16,}|[sr]k_(?:live|test)_\w{10,}|whsec_\w{16,}"
    r"|A(?:KIA|SIA)[0-9A-Z]{12,}|xox[abeprs]-[\w-]{8,}|xapp-[\w-]{16,}|AIza[\w-]{30,}|ya29\.[\w-]{16,}|npm_\w{30,}"
    r"|pypi-[\w-]{16,}|SG\.[\w-]{16,}\.[\w-]{16,}|hf_\w{20,}|dop_v1_\w{30,}|shp(?:at|ss|ca|pa)_\w{20,}|\d{8,10}:AA[\w-]{30,}"
    r"|hooks\.slack\.com/(?:services|workflows)/([\w/-]{8,})|api\.telegram\.org/bot([\w:-]{8,})"
    r"|discord(?:app)?\.com/api/webhooks/([\w/-]{8,})"
)
_BEGIN = "gh slack discord glpat- sk- k_ whsec_ akia asia xox xapp- aiza ya29. npm_ pypi sg. hf_ dop_ shp :aa /bot"

KINDS = (
    Kind("KEY", "private", r"-----BEGIN [A-Z ]*PRIVATE KEY",
         r"(?s)-----BEGIN [A-Z ]*PRIVATE KEY.*?(?:-----END [A-Z ]*KEY-----|\Z)"),
    Kind("SQL", "[parameters: )=( contains", r"\[parameters: |\)=\(|row contains \(",
         r"(?:\[parameters: |\)=\(|row contains \()([^\r\n]++)"),
    Kind("SECRET", NAME_NEEDS, _NAMED, _NAME, _value_of),
    Kind("SECRET", "input_value=", "input_value=", r"(?m)^([\w.-]++)\n[^\n]*?input_value=", _value_of),  # pydantic's
    Kind("SECRET", "?key= &key= sig= sid= hmac= code=", r"[?&](?:key|sig|sid|hmac|code)=",
         r"[?&](?:(?:key|sig|sid|hmac)=|code=(?=[^\s&#]{12}))([^\s&#'\"<>]++)"),
    Kind("SQL", "'", _SQL, r"'((?:[^'\\]|''|\\.)++)'?+"),
    Kind("PASSWORD", "://", r"[^\s\"]@", r"://[^\s'\"<>]++", _user_info),
    Kind("PASSWORD", "@", r"[^\s\"]@", rf"(?<![\w.+-]){_LABELS}[\w.+-]++:(?!//)([^\s@/:\"']++)@(?=[\w.-])"),
    Kind("CREDENTIAL", "bearer basic", r"(?i)(?:bearer|basic)\s{1,3}[A-Za-z0-9._~+/=-]{8}",
         r"(?i)\b(?:bearer|basic)\s{1,3}([A-Za-z0-9._~+/=-]{8,}+)", _where(is_random)),
    Kind("JWT", "eyj", r"eyJ[\w-]{8}", r"(?<![A-Za-z0-9-])eyJ[\w-]{8,}+\.[\w-]{8,}+(?:\.[\w-]*+)?"),
    Kind("TOKEN", _BEGIN, _TOKENS.replace(",}", "}"), rf"(?<![A-Za-z0-9])(?:{_TOKENS.replace(',}', ',}+')})",
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
         rf"|\+[1-9]\d{{0,2}}(?:[ .-]?\(?\d{{1,14}}\)?){{1,6}}){_AFTER}",
         _where(lambda text: 8 <= sum(map(str.isdigit, text)) <= 15), person=True),
)
"""Every kind, in the order in which they are looked for: what names a secret comes before what looks like one."""
# fmt: on

Prefilter = Callable[[str], Sequence[int]]  # gives the numbers of the kinds that a text may hold


@cache
def shared_prefilter() -> Prefilter:
    """The faster of the two that there is, made once; both say the same."""
    try:
        return prefilter_with_re2()
    except ImportError:
        return prefilter_with_re()


class _InCpp:
    """The turn of the thread that is in C++. As the process ends, the main thread takes it and keeps it.

    Python then unwinds the stacks of other threads that ask for its own lock, and C++ aborts the process for that.
    """

    def __init__(self) -> None:
        self.reset_after_fork()
        reset_in_forked_child(self)
        weakref.finalize(self, lambda: _in_cpp.turn.acquire(timeout=1.0))  # at exit, after those that are made later

    def reset_after_fork(self) -> None:
        """Begin free: it may be a thread's that the child has not."""
        self.turn = threading.RLock()


_in_cpp = _InCpp()


def prefilter_with_re2() -> Prefilter:
    """All kinds in one run over the text, in linear time. Raises ImportError without `google-re2`."""
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1  # bytes are compared: any text will do, also what is no Unicode
    one_of = re2.Set.SearchSet(options)
    with _in_cpp.turn:
        for kind in KINDS:
            one_of.Add(kind.hint)
        one_of.Compile()
    # The wrapper around this takes a tenth of the time, for what is not needed here.
    match: Callable[[bytes], list[int]] = getattr(one_of, "_set", one_of).Match

    def match_in_turn(text: str) -> list[int]:
        given = text.encode("utf-8", "surrogatepass")
        with _in_cpp.turn:
            return match(given)

    return match_in_turn


def prefilter_with_re() -> Prefilter:
    """One kind after the other: repetitions are bounded, since `re` may try them again from every character."""
    searches = [(number, kind.needs.split() or [""], re.compile(kind.hint)) for number, kind in enumerate(KINDS)]

    def match(text: str) -> list[int]:
        has = text.lower().__contains__
        return [number for number, needs, hint in searches if any(map(has, needs)) and hint.search(text)]

    return match
