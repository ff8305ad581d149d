r"""The strict scanner of JSON bodies: one reading that no server can read otherwise, or none. Bytes in, values out.

The proxy's scanner (`agent/envoy/classify.lua`) follows the same rules, and one corpus holds the two together.
(1) One JSON object, before and after it only space, tab, CR, LF: no byte-order mark, no second value.
(2) Members and elements are separated by exactly one comma, none trailing; nesting is at most `MAX_DEPTH`.
(3) Every top-level key is printable ASCII (0x20 to 0x7e) without `\`: no second spelling of a wanted key by escapes,
    overlong or invalid UTF-8, or Unicode case folding (Go folds U+017F to `s`).
(4) A wanted key stands at most once, and no other top-level key equals it when ASCII upper case is lowered.
(5) A wanted value is a string without `\` and control characters, or `null`, which counts as absent. `stream` is
    `true`, `false` or `null`: lenient servers take `"true"` for true.
What other strings and numbers say is not looked at, only where they end: no structure hangs on it. It does not judge
names or bound the size: the caller does.
"""

import re
from collections.abc import Collection

MAX_DEPTH = 64
FLAG = "stream"
"""The wanted key whose value is a boolean; the others are strings."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_ANY_STRING = re.compile(_STRING, re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|true|false|null|[-+0-9.eE]++", re.DOTALL)
_KEY = re.compile(rb'"[ !#-\[\]-~]*+"')
_TEXT = re.compile(rb'"[^"\\\x00-\x1f]*+"')
_OPEN, _CLOSE, _ARRAY, _ARRAY_END = b"{", b"}", b"[", b"]"
_LITERALS: dict[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}


class _Refused(Exception):  # noqa: N818  # never leaves this module
    """The body breaks a rule."""


def scan(body: bytes, wanted: Collection[str]) -> dict[str, str | bool] | None:
    """The wanted top-level members that are there, or None when the body breaks a rule."""
    try:
        return _Scanner(body, wanted).scan()
    except _Refused:
        return None


class _Scanner:
    """One pass over one body. `stack` holds the closing bracket that each open value waits for."""

    def __init__(self, body: bytes, wanted: Collection[str]) -> None:
        self.body = body
        self.wanted = frozenset(wanted)
        self.found: dict[str, str | bool] = {}
        self.seen: set[str] = set()
        self.at = 0
        self.stack: list[bytes] = []

    def scan(self) -> dict[str, str | bool]:
        self._take(_OPEN)
        self._push(_CLOSE)
        self._member(first=True)
        while self.stack:
            self._next()
        self._skip()
        if self.at != len(self.body):  # (1) a second value, or garbage
            raise _Refused
        return self.found

    def _next(self) -> None:
        """Behind a value: its end bracket, or a comma and what follows it."""
        if self._try(self.stack[-1]):
            self.stack.pop()
            return
        self._take(b",")
        if self.stack[-1] == _CLOSE:
            self._member(first=False)
        else:
            self._value()

    def _member(self, *, first: bool) -> None:
        """At a key, or where an object has just begun, perhaps at its end."""
        self._skip()
        if first and self.body.startswith(_CLOSE, self.at):
            return
        top = len(self.stack) == 1
        key = self._token(_KEY if top else _ANY_STRING)  # (3)
        name = self._wanted(key) if top else None
        self._take(b":")
        self._skip()
        start = self.at
        self._value()
        if name is not None:
            meaning = _meaning(name, self.body[start : self.at])
            if meaning is not None:
                self.found[name] = meaning

    def _wanted(self, key: bytes) -> str | None:
        name = key[1:-1].decode("ascii")
        if name.lower() not in self.wanted:
            return None
        if name != name.lower() or name in self.seen:  # (4)
            raise _Refused
        self.seen.add(name)
        return name

    def _value(self) -> None:
        """A scalar whole, or the opening of an object or array with its first member."""
        while True:
            if self._try(_OPEN):
                self._push(_CLOSE)
                self._member(first=True)
                return
            if not self._try(_ARRAY):
                self._token(_SCALAR)
                return
            self._push(_ARRAY_END)
            self._skip()
            if self.body.startswith(_ARRAY_END, self.at):
                return

    def _push(self, end: bytes) -> None:
        if len(self.stack) >= MAX_DEPTH:  # (2)
            raise _Refused
        self.stack.append(end)

    def _token(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self.body, self.at)
        if match is None:
            raise _Refused
        self.at = match.end()
        return match.group()

    def _skip(self) -> None:
        match = _SPACE.match(self.body, self.at)
        self.at = match.end() if match else self.at

    def _try(self, byte: bytes) -> bool:
        self._skip()
        if not self.body.startswith(byte, self.at):
            return False
        self.at += 1
        return True

    def _take(self, byte: bytes) -> None:
        if not self._try(byte):
            raise _Refused


def _meaning(name: str, value: bytes) -> str | bool | None:
    """(5) What a wanted member says; an object, an array or a number says nothing we may act on."""
    if value in _LITERALS:
        return _LITERALS[value]
    if name == FLAG or not _TEXT.fullmatch(value):
        raise _Refused
    return value[1:-1].decode("utf-8", "replace")
