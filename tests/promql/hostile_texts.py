"""Parses texts made to end the process, on a thread with a stack of the size given in KiB; prints how many it parsed."""

import random
import sys
import threading

from ordinaut_ext_observability.promql.errors import QueryError
from ordinaut_ext_observability.promql.parse import format_query, parse
from tests.promql.meaning import meaning

PIECES = (
    'x 1 5m 1e300 0x1f \'a\' "b" ` \\ " ( ) [ ] { } [5m] [5m:] [5m:1m] {a="b"} {a=~"b.*"} + - * / % ^ == != > < >= '
    "<= =~ !~ = and or unless atan2 bool on ignoring by without group_left group_right fill offset @ start() end() "
    '(a) , : . # ; $ é \ud800 \x00 \n sum topk rate( label_replace( time() Inf NaN offset+Inf 9999999y -1 1_0 \\xff "\\ud800"'
).split(" ")


def nested(depth: int):
    """Texts with so many levels, of every kind."""
    yield "(" * depth + "x" + ")" * depth
    yield "(" * depth
    yield "-" * depth + "x"
    yield "- + " * depth + "x"
    yield "sum(" * depth + "x" + ")" * depth
    yield "sum by (a) (" * depth + "x" + ")" * depth
    yield "abs(" * depth + "x" + ")" * depth
    yield "max_over_time(" * depth + "x" + "[5m:])" * depth
    yield "x" + "[5m:]" * depth
    yield "x" + " offset 5m" * depth
    yield "x" + " @ 5" * depth
    yield "{" * depth + "}" * depth
    yield "x" + "[" * depth + "]" * depth
    yield "clamp(x,1," * depth + "1" + ")" * depth
    yield "-(" * depth + "1" + ")" * depth
    for operator in ("+", "^", " and ", " or ", " unless ", " atan2 ", "==", "> bool ", " + on(a) group_left(b) "):
        yield operator.join(["x"] * depth)
        yield operator.join(["1"] * depth)
    yield "x{" + ",".join(['a="b"'] * depth) + "}"
    yield "x{" + ",".join(['a=~"(b|c)+.*"'] * depth) + "}"
    yield "x{" + " or ".join(['a="b"'] * depth) + "}"
    yield "label_join(x,'a'" + ",'b'" * depth + ")"
    yield "sum by (" + ",".join(["a"] * depth) + ") (x)"
    yield "x{a=~'" + "(" * depth + ")" * depth + "'}"
    yield "x{a=~'" + "(a|" * depth + "b" + ")" * depth + "'}"
    yield "x{a=~'" + "(" * depth + "a" + "{50})" * depth + "'}"
    yield "x{a=~'" + "a?" * depth + "a" * depth + "'}"
    yield "#\n" * depth + "x"
    yield "'" * depth
    yield "\\" * depth


def soup(seed: int) -> str:
    """A text of random pieces."""
    chosen = random.Random(seed)
    return chosen.choice(("", " ")).join(chosen.choices(PIECES, k=chosen.randint(1, 30)))


def expression(chosen: random.Random, depth: int) -> str:
    """A random query of instant vectors."""
    if depth == 0:
        return chosen.choice(
            ("x", "{'a.b',c=~'d+'}", "x{a!='b'} offset 1d", "x @ -5.25", "rate(x[90m])", "-x", "vector(-2)")
        )
    left, right = expression(chosen, depth - 1), expression(chosen, chosen.randrange(depth))
    operator = chosen.choice(
        "+ - * / % ^ atan2 == >bool and or unless *ignoring(a)group_left() /on('b.c')fill_right(-1)".split()
    )
    return chosen.choice(
        (f"{left} {operator} {right}", f"({left}) {operator} ({right})", f"-({left})", f"sum by (a) ({left})",
         f"topk without () (-1, {left})", f"({left}) ^ -1.5e9", f"max_over_time(({left})[1h:5m] offset -1w @ end())",
         f"label_join({left}, 'a', \"\\n'\")")
    )  # fmt: skip


def texts():
    """All of them."""
    for depth in (40, 60, 64, 90, 100, 101, 500, 2_000, 50_000):
        yield from nested(depth)
    yield "x" * 1_000_000
    yield "x + " * 250_000
    yield bytes(random.Random(0).randbytes(5_000)).decode("latin-1")
    yield from map(soup, range(int(sys.argv[2])))
    yield from (expression(random.Random(seed), seed % 5) for seed in range(int(sys.argv[2])))


def main() -> None:
    """Every text is parsed and formatted, or refused."""
    parsed = 0
    for text in texts():
        try:
            tree = meaning(parse(text))
            assert meaning(parse(format_query(text))) == tree, text
            parsed += 1
        except QueryError as error:
            assert str(error), text
    print(parsed, "parsed")


if __name__ == "__main__":
    threading.stack_size(int(sys.argv[1]) * 1024)
    failures = []
    threading.excepthook = failures.append
    thread = threading.Thread(target=main)
    thread.start()
    thread.join()
    for failure in failures:
        sys.excepthook(*failure[:3])
    sys.exit(len(failures))
