r"""The strict scanner of JSON bodies: one reading that no server can read otherwise, or none. Bytes in, values out.

The proxy's scanner (`agent/envoy/classify.lua`) follows the same rules, and one corpus holds the two together.
(1) One JSON object, before and after it only space, tab, CR, LF: no byte-order mark, no second value.
(2) Members and elements are separated by exactly one comma, none trailing; nesting is at most `MAX_DEPTH`.
(3) Every key beside which a wanted one may stand is printable ASCII (0x20 to 0x7e) without `\`: no second spelling of
    a wanted key by escapes, overlong or invalid UTF-8, or Unicode case folding (Go folds U+017F to `s`).
(4) A wanted key stands at most once in its object, and no other key there equals it when ASCII upper case is lowered.
(5) A wanted value is a string without `\` and control characters, or `null`, which counts as absent. `stream` is
    `true`, `false` or `null`: lenient servers take `"true"` for true. `id` may be anything: it is only given back.
(6) `params.name` wants `name` in the object `params` at the top, which is then an object or `null`, under the same rules.
(7) What is wanted of `params.arguments` is as `policies.arguments` says: no `null`, and a name may have capitals, which
    then are the only spelling that may occur. Of two wanted names that differ only by case neither may.
What other strings and numbers say is not looked at, only where they end: no structure hangs on it. It does not judge
names or bound the size: the caller does.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from policies import arguments

MAX_DEPTH = 64
FLAG, ECHO = "stream", "id"
"""The wanted key whose value is a boolean, and the one whose value is not looked at; the others are strings."""

_SPACE = re.compile(rb"[ \t\r\n]*+")
_STRING = rb'"(?:[^"\\]++|\\.)*+"'
_ANY_STRING = re.compile(_STRING, re.DOTALL)
_SCALAR = re.compile(_STRING + rb"|true|false|null|[-+0-9.eE]++", re.DOTALL)
_KEY = re.compile(rb'"[ !#-\[\]-~]*+"')
_TEXT = re.compile(rb'"[^"\\\x00-\x1f]*+"')
_ARGUMENT = re.compile(f'"{arguments.VALUE.pattern}"'.encode())
_OPEN, _CLOSE, _ARRAY, _ARRAY_END = b"{", b"}", b"[", b"]"
_LITERALS: dict[bytes, bool | None] = {b"true": True, b"false": False, b"null": None}


class _Refused(Exception):  # noqa: N818  # never leaves this module
    """The body breaks a rule."""


def scan(body: bytes, wanted: Collection[str]) -> dict[str, str | bool] | None:
    """The wanted members that are there, or None when the body breaks a rule."""
    try:
        return _Scanner(body, wanted).scan()
    except _Refused:
        return None


@dataclass(slots=True)
class _Level:
    """An object or array that is open: the bracket that ends it, and what is wanted of it."""

    end: bytes
    prefix: str = ""
    """Of the wanted names of this object's members: empty at the top, `params.` in `params`."""
    wanted: Mapping[str, str] = field(default_factory=dict)
    """In lower case -> as it is spelled. Empty: nothing in it is looked at."""
    seen: set[str] = field(default_factory=set)


class _Scanner:
    """One pass over one body."""

    def __init__(self, body: bytes, wanted: Collection[str]) -> None:
        self.body = body
        self.wanted = frozenset(wanted)
        self.found: dict[str, str | bool] = {}
        self.at = 0
        self.open: list[_Level] = []

    def scan(self) -> dict[str, str | bool]:
        self._take(_OPEN)
        self._push(self._object(""))
        self._member(first=True)
        while self.open:
            self._next()
        self._skip()
        if self.at != len(self.body):  # (1) a second value, or garbage
            raise _Refused
        return self.found

    def _next(self) -> None:
        """Behind a value: its end bracket, or a comma and what follows it."""
        if self._try(self.open[-1].end):
            self.open.pop()
            return
        self._take(b",")
        if self.open[-1].end == _CLOSE:
            self._member(first=False)
        else:
            self._value()

    def _object(self, prefix: str) -> _Level:
        inside = (name.removeprefix(prefix) for name in self.wanted if name.startswith(prefix))
        wanted: dict[str, str] = {}
        for name in {name.partition(".")[0] for name in inside}:
            wanted[name.lower()] = "" if name.lower() in wanted else name  # (7)
        return _Level(_CLOSE, prefix, wanted)

    def _member(self, *, first: bool) -> None:
        """At a key, or where an object has just begun, perhaps at its end."""
        level = self.open[-1]
        self._skip()
        if first and self.body.startswith(_CLOSE, self.at):
            return
        key = self._token(_KEY if level.wanted else _ANY_STRING)  # (3)
        name = _wanted(level, key)
        self._take(b":")
        self._skip()
        if name is None or name == ECHO:
            self._value()
        elif any(other.startswith(f"{name}.") for other in self.wanted):
            self._nested(name)
        else:
            meaning = _meaning(name, self._token(_SCALAR))
            if meaning is not None:
                self.found[name] = meaning

    def _nested(self, name: str) -> None:
        """(6)"""
        if self._try(_OPEN):
            self._push(self._object(f"{name}."))
            self._member(first=True)
        elif self._token(_SCALAR) != b"null":
            raise _Refused

    def _value(self) -> None:
        """A scalar whole, or the opening of an object or array with its first member."""
        while True:
            if self._try(_OPEN):
                self._push(_Level(_CLOSE))
                self._member(first=True)
                return
            if not self._try(_ARRAY):
                self._token(_SCALAR)
                return
            self._push(_Level(_ARRAY_END))
            self._skip()
            if self.body.startswith(_ARRAY_END, self.at):
                return

    def _push(self, level: _Level) -> None:
        if len(self.open) >= MAX_DEPTH:  # (2)
            raise _Refused
        self.open.append(level)

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


def _wanted(level: _Level, key: bytes) -> str | None:
    """The full name of a key, if it is wanted."""
    if not level.wanted:
        return None
    name = key[1:-1].decode("ascii")
    spelled = level.wanted.get(name.lower())
    if spelled is None:
        return None
    if name != spelled or name in level.seen:  # (4), (7)
        raise _Refused
    level.seen.add(name)
    return level.prefix + name


def _meaning(name: str, value: bytes) -> str | bool | None:
    """(5) What a wanted member says; an object, an array or a number says nothing we may act on."""
    if name.startswith(arguments.MEMBER):
        if not _ARGUMENT.fullmatch(value):
            raise _Refused
        return value[1:-1].decode("ascii")
    if value in _LITERALS:
        return _LITERALS[value]
    if name == FLAG or not _TEXT.fullmatch(value):
        raise _Refused
    return value[1:-1].decode("utf-8", "replace")
