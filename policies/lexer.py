"""Just enough of Cedar's lexis to know where a policy begins and on which line a word stands.

Cedar's own parser decides what a policy means; `cedar` checks that it sees as many policies as are found here.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space> [^\S\x1c-\x1f]+ | //[^\r\n]* )
  | (?P<string> "(?:[^"\\]|\\.)*+" )
  | (?P<word> [A-Za-z_][A-Za-z0-9_]* | [0-9]+ )
  | (?P<symbol> :: | && | \|\| | == | != | <= | >= | . )
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Chunk:
    """One policy's text from its first word to its semicolon, and the line of that word."""

    text: str
    line: int
    complete: bool
    """False: the file ended before the semicolon."""


# What may hold a semicolon that ends nothing, and one that does: a large set is only searched for these.
_END = re.compile(r'//[^\r\n]* | "(?:[^"\\]|\\.)*+" | (?P<end>;)', re.VERBOSE | re.DOTALL)
_BLANK = re.compile(r"(?: [^\S\x1c-\x1f]+ | //[^\r\n]* )*+", re.VERBOSE)  # separators are no blanks to Cedar


def split(source: str) -> tuple[Chunk, ...]:
    """The policies of a file in order. A semicolon ends one, unless it stands in a string or comment."""
    chunks: list[Chunk] = []
    line, at = 1, 0
    for match in _END.finditer(source):
        if match.lastgroup == "end":
            start = _first(source, at)
            line += source.count("\n", at, start)
            at = match.end()
            chunks.append(Chunk(source[start:at], line, complete=True))
            line += source.count("\n", start, at)
    start = _first(source, at)
    if start < len(source):
        last = max(match.end() for match in _TOKEN.finditer(source, start) if match.lastgroup != "space")
        chunks.append(Chunk(source[start:last], line + source.count("\n", at, start), complete=False))
    return tuple(chunks)


def _first(source: str, at: int) -> int:
    """Where the next word stands, or the end."""
    blank = _BLANK.match(source, at)
    return blank.end() if blank else at


_DEEPER = frozenset(
    {"&&", "||", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "!", ".", "if", "in", "has", "like", "is"}
)


def nests_deeper(source: str, levels: int) -> bool:
    """Whether a policy's expressions might nest deeper than this; each level takes at least one character."""
    return len(source) >= levels and _nesting(source) > levels


def _nesting(source: str) -> int:
    """An upper bound of how deep a policy's expressions nest: operators beside each other count like brackets."""
    levels = [[0, 0]]  # per open bracket: operators in it, and the deepest of what is bracketed in it
    for match in _TOKEN.finditer(source):
        text = match.group()
        if match.lastgroup == "space":
            continue
        if text in "([{":
            levels.append([0, 0])
        elif text in ")]}" and len(levels) > 1:
            operators, inner = levels.pop()
            levels[-1][1] = max(levels[-1][1], operators + inner + 1)
        elif text in _DEEPER:
            levels[-1][0] += 1
    return sum(operators for operators, _ in levels) + max(inner for _, inner in levels) + len(levels)


def slots(source: str) -> set[str]:
    """The slots that stand in a policy."""
    if "?" not in source:
        return set()
    return {f"?{word}" for mark, word in _pairs(source) if mark == "?"}


def _pairs(source: str) -> Iterator[tuple[str, str]]:
    words = [match.group() for match in _TOKEN.finditer(source) if match.lastgroup != "space"]
    return itertools.pairwise(words)


def replaced(source: str, values: Mapping[str, str], id_: str) -> str:
    """A template's text with its slots filled and the literal of its `@id` replaced; the rest byte for byte."""
    made: list[str] = []
    before: list[str] = []
    for match in _TOKEN.finditer(source):
        text = match.group()
        if match.lastgroup == "space":
            made.append(text)
            continue
        if before[-1:] == ["?"] and f"?{text}" in values:
            made[max(place for place, one in enumerate(made) if one == "?")] = ""
            text = values[f"?{text}"]
        elif before[-3:] == ["@", "id", "("]:
            text = id_
        before.append(match.group())
        made.append(text)
    return "".join(made)


def first_line(source: str, token: str) -> int:
    """How many lines below the start `token` first stands outside strings and comments; 0 where it does not."""
    line = 0
    for match in _TOKEN.finditer(source):
        if match.lastgroup != "space" and match.group() == token:
            return line
        line += match.group().count("\n")
    return 0
