"""Lines that were removed, changed, put in another order or inserted are named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinaut_ext_observability.audit.chain import Chain, digest, make_line, split_hash
from ordinaut_ext_observability.audit.chain import Verification
from ordinaut_ext_observability.settings.parts import AuditSettings

KEY = "a-key-of-16-characters-or-more"


def write_chain(directory: Path, key: str | None = None) -> list[tuple[str, list[bytes]]]:
    """A closed chain of some files: their names and lines."""
    chain = Chain(AuditSettings(directory=str(directory), key=key, file_bytes=64 * 1024))
    for number in range(9):
        chain.append([make_line("security_event", {"number": number, "text": "x" * 20_000})])
    chain.append([make_line("chain_closed", {})])
    paths = sorted(directory.iterdir(), key=lambda path: path.stem.rsplit("-", 2)[1:])
    return [(path.name, path.read_bytes().splitlines(keepends=True)) for path in paths]


@pytest.fixture(scope="module")
def chain_files(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, list[bytes]]]:
    return write_chain(tmp_path_factory.mktemp("chain") / "audit")


def check(files: list[tuple[str, list[bytes]]], key: str = "") -> Verification:
    with tempfile.TemporaryDirectory() as directory:
        paths = [Path(directory) / name for name, _ in files]
        for path, (_, lines) in zip(paths, files, strict=True):
            path.write_bytes(b"".join(lines))
        return Verification(paths, key.encode())


def named_lines(result: Verification) -> Iterator[tuple[str, int]]:
    for problem in result.problems:
        name, number, _ = problem.rpartition("/")[2].split(":", 2)
        yield name, int(number)


def test_a_chain_as_it_was_written_has_no_problem(chain_files: list[tuple[str, list[bytes]]]) -> None:
    assert len(chain_files) > 1
    result = check(chain_files)
    assert (result.problems, result.notes) == ([], [])
    assert [chain.end for chain in result.chains.values()] == ["closed"]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_line_that_was_touched_is_named(chain_files: list[tuple[str, list[bytes]]], data: st.DataObject) -> None:
    """At its own place or, where it is gone, at the next line of the chain."""
    files = [(name, list(lines)) for name, lines in chain_files]
    places = [(file, line) for file, (_, lines) in enumerate(files) for line in range(len(lines))]
    touch = data.draw(st.sampled_from(["remove", "change", "swap", "repeat", "rewrite"]))
    at = data.draw(st.integers(0, len(places) - (1 if touch in ("change", "repeat") else 2)))
    (file, line), (next_file, next_line) = places[at], places[min(at + 1, len(places) - 1)]
    name, lines = files[file]
    expected = {(name, line + 1)}
    if touch == "remove":
        del lines[line]
        expected = {(files[next_file][0], next_line + 1 - (next_file == file))}
    elif touch == "change":
        position = data.draw(st.integers(0, len(lines[line]) - 2))
        byte = data.draw(st.integers(0, 255).filter(lambda byte: byte not in (lines[line][position], 10)))
        lines[line] = lines[line][:position] + bytes([byte]) + lines[line][position + 1 :]
    elif touch == "swap":
        lines[line], files[next_file][1][next_line] = files[next_file][1][next_line], lines[line]
    elif touch == "repeat":
        lines.insert(line, lines[line])
        expected = {(name, line + 2)}
    else:  # with a hash that fits: whoever has no key can do that to any record but the last
        body, _ = split_hash(
            lines[line].rstrip(b"\n").replace(b"security_event", b"no_event").replace(b"file_", b"no_")
        )
        lines[line] = body[:-1] + b',"hash":"%s"}\n' % digest(body, b"").encode()
        expected = {(files[next_file][0], next_line + 1)}
    assert expected <= set(named_lines(check(files)))


def test_a_tail_that_was_cut_off_shows_as_a_chain_that_was_not_closed(
    chain_files: list[tuple[str, list[bytes]]],
) -> None:
    name, lines = chain_files[-1]
    result = check([*chain_files[:-1], (name, lines[:-1])])
    assert result.problems == []
    assert [chain.end for chain in result.chains.values()] == ["no closing record: runs, or was killed"]


def test_a_beginning_that_was_cut_off_is_named_also_under_a_fitting_name(tmp_path: Path) -> None:
    (name, lines), *others = write_chain(tmp_path / "audit")
    renamed = name.replace("-000000000.", "-000000002.")
    assert list(named_lines(check([(renamed, lines[2:]), *others]))) == [(renamed, 1)]


def test_a_file_from_the_middle_that_is_gone_is_named(tmp_path: Path) -> None:
    files = write_chain(tmp_path / "audit")
    result = check([files[0], files[2]])
    assert list(named_lines(result)) == [(files[2][0], 1)]
    assert "are missing before it" in result.problems[0]


def test_with_a_key_nobody_without_it_can_write_a_record(tmp_path: Path) -> None:
    files = write_chain(tmp_path / "audit", KEY)
    assert check(files, KEY).problems == []
    name, lines = files[-1]
    body, _ = split_hash(lines[-1].rstrip(b"\n").replace(b"chain_closed", b"operator_in"))
    forged = body[:-1] + b',"hash":"%s"}\n' % digest(body, b"").encode()
    assert list(named_lines(check([*files[:-1], (name, [*lines[:-1], forged])], KEY))) == [(name, len(lines))]


@given(line=st.binary(max_size=300))
def test_any_bytes_are_no_record(line: bytes) -> None:
    result = check([("audit-1-0123456789abcdef-000000000.jsonl", [line, b"\n"])])
    assert len(result.problems) >= 1
