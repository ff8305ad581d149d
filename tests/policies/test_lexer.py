"""Where policies begin and end, whatever stands in strings and comments."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies import lexer
from policies.lexer import Chunk


@pytest.mark.parametrize(
    ("source", "chunks"),
    [
        ("", []),
        (" \n // only ; this\n", []),
        ("a;b;", [Chunk("a;", 1, complete=True), Chunk("b;", 1, complete=True)]),
        (";;", [Chunk(";", 1, complete=True), Chunk(";", 1, complete=True)]),
        ("\n// x;\n a\n;\n\n b;", [Chunk("a\n;", 3, complete=True), Chunk("b;", 6, complete=True)]),
        ('a "b;\\";//" c; d', [Chunk('a "b;\\";//" c;', 1, complete=True), Chunk("d", 1, complete=False)]),
        ("a // b;\r; c", [Chunk("a // b;\r;", 1, complete=True), Chunk("c", 1, complete=False)]),
        ('"never ended; b', [Chunk('"never ended;', 1, complete=True), Chunk("b", 1, complete=False)]),
        ("a \n // no end\n", [Chunk("a", 1, complete=False)]),
        ("a / b; /", [Chunk("a / b;", 1, complete=True), Chunk("/", 1, complete=False)]),
    ],
)
def test_a_semicolon_ends_a_policy_unless_it_stands_in_a_string_or_comment(source, chunks) -> None:
    assert lexer.split(source) == tuple(chunks)


@given(st.text(alphabet='a ?;/"\\\n\r.(){}&|!', max_size=40))
def test_nothing_but_blanks_and_comments_lies_between_policies(source) -> None:
    at, line = 0, 1
    for chunk in lexer.split(source):
        start = source.index(chunk.text, at)
        assert all(not part.strip() or part.strip().startswith("//") for part in _lines(source[at:start]))
        assert chunk.line == line + source.count("\n", at, start)
        line = chunk.line + chunk.text.count("\n")
        at = start + len(chunk.text)
        assert chunk.complete == chunk.text.endswith(";")


def _lines(text: str) -> list[str]:
    return text.replace("\r", "\n").split("\n")


@given(st.text(alphabet="a.!(){}[]&|<", max_size=60))
def test_a_text_nests_no_deeper_than_it_is_long(source) -> None:
    assert not lexer.nests_deeper(source, len(source) + 1)
    assert lexer._nesting(source) <= len(source) + 1


def test_what_nests_too_deeply_is_found_at_any_length() -> None:
    assert lexer.nests_deeper("(" * 500, 500)
    assert not lexer.nests_deeper("(" * 499, 500)
    assert not lexer.nests_deeper("a" * 5000, 500)
