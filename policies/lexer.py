"""Where each policy stands in its file. Cedar's parser gives no positions, so we find the pieces ourselves.

It knows only strings, comments and the semicolon that ends a policy: enough for exact lines, nothing more.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

TOKEN = re.compile(r'"(?:\\.|[^"\\])*"|//[^\n]*|\s+|;|[^"/;\s]+|/', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Piece:
    """The text of one policy, and the line of its first token."""

    line: int
    text: str


def pieces(source: str) -> Iterator[Piece]:
    """The policies of a file in order; text after the last semicolon is a piece too, for the parser to complain about."""
    start: int | None = None
    for token in TOKEN.finditer(source):
        text = token.group()
        if text.isspace() or text.startswith("//"):
            continue
        if start is None:
            start = token.start()
        if text == ";":
            yield _piece(source, start, token.end())
            start = None
    if start is not None:
        yield _piece(source, start, len(source))


def _piece(source: str, start: int, end: int) -> Piece:
    return Piece(source.count("\n", 0, start) + 1, source[start:end])


def line_within(piece: Piece, needle: str) -> int:
    """The line where `needle` first occurs in the piece, else the piece's own."""
    at = piece.text.find(needle) if needle else -1
    return piece.line + (piece.text.count("\n", 0, at) if at > 0 else 0)


def clause_texts(policy: str) -> list[str]:
    """The bodies of the `when` and `unless` clauses, in order, with white space folded."""
    texts: list[str] = []
    depth, kept, open_clause, word = 0, [""], False, ""
    for token in TOKEN.finditer(policy):
        text = token.group()
        if text.isspace() or text.startswith("//"):
            kept[-1] += " "
            continue
        for part in [text] if text.startswith('"') else re.findall(r"[{}()]|[^{}()]+", text):
            if part == "{" and depth == 0:
                open_clause, kept = word in {"when", "unless"}, [""]
            if part in "{(":
                depth += 1
            elif part in "})":
                depth -= 1
            if part == "}" and depth == 0 and open_clause:
                texts.append(" ".join(kept[-1].split()).removeprefix("{ ").removeprefix("{").strip())
            kept[-1] += part
            word = part
    return texts
