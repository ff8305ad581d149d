r"""Arguments of the tool that is called, as far as policies can ask for them: strings at the top of a call's `arguments`.

A policy asks with `context.arguments.hasTag("path")` and `getTag("path")`. What rules ask for is read from the body, and
nothing else: an argument that is asked for is a string of printable ASCII without `"` and `\`, at most `MAX_VALUE` long, or
it is not there; anything else (a number, `null`, an escape, a second one of its name) makes the body unreadable.

Between classifier and filters they travel as one text (`told`): `"mode"path=/data/x"` says that `mode` was looked for and is
not there, and that `path` is. A quotation mark stands in no value, so that a name behind one is a name.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")
MAX_VALUE = 512
MAX_NAMES = 64
"""In all policies of a set: with their longest values they fit a request's headers."""
VALUE = re.compile(rf"[ !#-\[\]-~]{{0,{MAX_VALUE}}}")
MEMBER = "params.arguments."
"""Of the body of a call: what its arguments stand in."""


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument matches a pattern: literal parts, any run of characters between them. One that is absent matches none.

    ("",) is the empty string; ("", "") anything: it is there.
    """

    name: str
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Arguments:
    """What a call was found to say. `read` None: it says nothing but `given`; else only these names were looked for."""

    given: tuple[tuple[str, str], ...] = ()
    read: frozenset[str] | None = None

    def get(self, name: str) -> str | None:
        return next((value for known, value in self.given if known == name), None)

    def tell(self, names: Collection[str]) -> bool:
        """Whether it is known of each of these names if it is there, and what it is."""
        return self.read is None or self.read.issuperset(names)


NONE = Arguments()


def of(values: Mapping[str, str]) -> Arguments:
    """All that a call says."""
    return Arguments(tuple(sorted(values.items())))


def possible(parts: Collection[str]) -> bool:
    """Whether an argument that can be read may match a pattern of these parts."""
    return sum(map(len, parts)) <= MAX_VALUE and all(VALUE.fullmatch(part) for part in parts)


def told(found: Mapping[str, str], wanted: Collection[str]) -> str:
    """What filters are told of the wanted arguments."""
    words = (f"{name}={found[name]}" if name in found else name for name in sorted(wanted))
    return "".join(f'"{word}' for word in words) + '"'


def read(text: str) -> Arguments:
    """The inverse of `told`; of anything else, that nothing was looked for."""
    words = [word.partition("=") for word in text[1:-1].split('"')] if text else []
    given = tuple((name, value) for name, is_there, value in words if is_there)
    return Arguments(given, frozenset(name for name, _, _ in words))
