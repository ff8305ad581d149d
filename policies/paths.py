r"""Paths that mean one thing to every server, and the rows of the table that they meet. Pure.

(1) A path without query is *ambiguous* if it does not begin with `/`, holds a character outside `!` to `~`, `\`, `;`,
    `#`, `//`, a `.` or `..` segment, or a `%` that no two hex digits follow or that encodes an unreserved character,
    `/`, `\`, `;`, `%` or a control character, or begins overlong UTF-8. Servers differ about what such a path means.
(2) Any other path meets the rows that match it byte for byte.
(3) It is *near* a row if it meets one of any method in lower case, without its trailing `/`, with anything where a part
    is free. Near a row and meeting none is nobody's: some server takes it for that row.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from policies.table import TABLE, Endpoint

NAME = "[A-Za-z0-9._:-]{1,128}"
SEGMENT = "[A-Za-z0-9._~-]+"
DIGEST = "[0-9a-f]{64}"
HOLES = {"{name}": f"(?P<name>{NAME})", "{digest}": DIGEST, "{}": SEGMENT}
_HOLE = re.compile(r"(\{[a-z]*\})")
_PLAIN = re.compile(r"/[!-~]*")
_CONFUSING = re.compile(r"[\\;#]|//|/\.\.?(?:/|\Z)")
_ESCAPE = re.compile(r"%(.{0,2})")
_HEX = re.compile(r"[0-9A-Fa-f]{2}")
_OVERLONG = re.compile(r"%(?:c[01]|f[5-9a-f]|e0%[89]|f0%8)", re.IGNORECASE)
_NEEDLESS = re.compile(r"[A-Za-z0-9._~/\\;%\x00-\x1f\x7f-]")


@dataclass(frozen=True, slots=True)
class _Shape:
    """A path of the table: as written, and with anything where a part is free, in lower case."""

    exact: re.Pattern[str]
    folded: re.Pattern[str]
    rows: dict[str, Endpoint]


def pieces(path: str) -> Iterable[str]:
    """A path of the table, cut at its free parts: what is free stands by itself."""
    return [piece for piece in _HOLE.split(path) if piece]


@lru_cache(maxsize=1)
def _shapes() -> tuple[_Shape, ...]:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for row in TABLE:
        by_path.setdefault(row.path, {})[row.method] = row
    return tuple(_shape(path, rows) for path, rows in by_path.items())


def _shape(path: str, rows: dict[str, Endpoint]) -> _Shape:
    exact = "".join(HOLES.get(piece) or re.escape(piece) for piece in pieces(path))
    folded = "".join("[^/]+" if piece in HOLES else re.escape(piece.lower()) for piece in pieces(path))
    return _Shape(re.compile(exact), re.compile(folded), rows)


def find(method: str, path: str) -> tuple[Endpoint, str] | None:
    """The row for a method and a path that is not ambiguous, and the name in the path."""
    for shape in _shapes():
        row = shape.rows.get(method)
        met = shape.exact.fullmatch(path) if row else None
        if row and met:
            return row, met.groupdict().get("name", "")
    return None


def near(path: str) -> bool:
    """Rule (3)."""
    folded = path.lower().rstrip("/")
    return any(shape.folded.fullmatch(folded) for shape in _shapes())


def ambiguous(path: str) -> bool:
    """Rule (1)."""
    if not _PLAIN.fullmatch(path) or _CONFUSING.search(path):
        return True
    if _OVERLONG.search(path):  # once read as `/` or `.` by servers that did not look
        return True
    return any(_needless(escape) for escape in _ESCAPE.findall(path))


def _needless(escape: str) -> bool:
    if not _HEX.fullmatch(escape):
        return True
    return _NEEDLESS.fullmatch(chr(int(escape, 16))) is not None
