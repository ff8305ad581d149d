"""Just enough of Cedar's lexis to know where a policy begins and on which line a word stands.

Cedar's own parser decides what a policy means; `parse` checks that it sees as many policies as are found here.
"""

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
    (?P<space> \s+ | //[^\r\n]* )
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


def split(source: str) -> tuple[Chunk, ...]:
    """The policies of a file in order. A semicolon ends one, unless it stands in a string or comment."""
    chunks: list[Chunk] = []
    start, start_line, line, last = -1, 0, 1, 0
    for match in _TOKEN.finditer(source):
        if match.lastgroup != "space":
            if start < 0:
                start, start_line = match.start(), line
            last = match.end()
            if match.group() == ";":
                chunks.append(Chunk(source[start:last], start_line, complete=True))
                start = -1
        line += match.group().count("\n")
    if start >= 0:
        chunks.append(Chunk(source[start:last], start_line, complete=False))
    return tuple(chunks)


def first_line(source: str, token: str) -> int:
    """How many lines below the start `token` first stands outside strings and comments; 0 where it does not."""
    line = 0
    for match in _TOKEN.finditer(source):
        if match.lastgroup != "space" and match.group() == token:
            return line
        line += match.group().count("\n")
    return 0
