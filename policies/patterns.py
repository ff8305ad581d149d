"""Which strings a set of literals and `like` patterns can tell apart: one example of each kind, and none is missed.

Patterns run side by side over the characters that they name and one more that stands for all others; a tree of the
literals runs along, so that an example is a literal or surely none. What a field's grammar forbids is never an example.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from policies import grammar
from policies.model import Field

MAX_STATES = 20_000
_STAR = ""
_OTHERS = "xzqjvw0123456789abcdefghiklmnoprstuyABCDEFGHIJKLMNOPQRSTUVWXYZ"
_Positions = frozenset[int]


class TooManyError(Exception):
    """The patterns tell more strings apart than may be looked at."""


def kinds(field: Field, literals: Iterable[str], patterns: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Literals that the field can hold, and for every combination of patterns that another string can match, one such."""
    known = frozenset(text for text in literals if grammar.possible(field, text))
    machine = _Machine(field, known, tuple(map(_tokens, patterns)))
    found: dict[tuple[bool, ...], str] = {}
    for text, matched in machine.walk():
        found.setdefault(matched, text)
    return (*sorted(known), *found.values())


def _tokens(parts: tuple[str, ...]) -> tuple[str, ...]:
    """`fr*` -> ("f", "r", STAR)."""
    tokens = list(parts[0])
    for part in parts[1:]:
        tokens += [_STAR, *part]
    return tuple(tokens)


@dataclass(frozen=True, slots=True)
class _State:
    """How far each pattern is, how far the grammar is, and the text so far while some literal begins with it."""

    patterns: tuple[_Positions, ...]
    shape: str
    prefix: str | None


class _Machine:
    """Walks all states breadth first: the first text that reaches one is a shortest."""

    def __init__(self, field: Field, literals: frozenset[str], patterns: Sequence[tuple[str, ...]]) -> None:
        self._field, self._literals, self._patterns = field, literals, patterns
        self._prefixes = {text[:end] for text in literals for end in range(len(text) + 1)}
        named = {c for text in literals for c in text} | {c for p in patterns for c in p if c != _STAR}
        if field is Field.PATH:
            named.add("/")
        self._alphabet = [char for char in sorted(named) if grammar.possible_part(field, char)]
        other = next((c for c in _OTHERS if c not in named and grammar.possible_part(field, c)), None)
        if other is not None:
            self._alphabet.insert(0, other)

    def walk(self) -> Iterator[tuple[str, tuple[bool, ...]]]:
        """(text, which patterns it matches) of texts that are no literal; raises TooManyError."""
        start = _State(tuple(_closed(p, {0}) for p in self._patterns), "", "" if self._prefixes else None)
        seen, queue = {start}, deque([(start, "")])
        while queue:
            state, text = queue.popleft()
            if text not in self._literals and _fits(self._field, text):
                ends = (len(p) for p in self._patterns)
                yield text, tuple(end in at for end, at in zip(ends, state.patterns, strict=True))
            for char in self._alphabet:
                after = self._after(state, text + char)
                if after not in seen:
                    if len(seen) >= MAX_STATES:
                        raise TooManyError
                    seen.add(after)
                    queue.append((after, text + char))

    def _after(self, state: _State, text: str) -> _State:
        steps = zip(self._patterns, state.patterns, strict=True)
        return _State(
            tuple(_step(pattern, at, text[-1]) for pattern, at in steps),
            _shape(self._field, text),
            text if state.prefix is not None and text in self._prefixes else None,
        )


def _step(pattern: tuple[str, ...], at: _Positions, char: str) -> _Positions:
    stay = {place for place in at if place < len(pattern) and pattern[place] == _STAR}
    move = {place + 1 for place in at if place < len(pattern) and pattern[place] == char}
    return _closed(pattern, stay | move)


def _closed(pattern: tuple[str, ...], at: set[int]) -> _Positions:
    """A star may stand for nothing."""
    reached, pending = set(at), list(at)
    while pending:
        place = pending.pop()
        if place < len(pattern) and pattern[place] == _STAR and place + 1 not in reached:
            reached.add(place + 1)
            pending.append(place + 1)
    return frozenset(reached)


def _shape(field: Field, text: str) -> str:
    """All that a field's grammar can ask of a text so far: is it empty, how does it begin and end; a country's length."""
    pattern = grammar.FIELDS.get(field)
    if pattern is grammar.COUNTRY:
        return str(min(len(text), 3))
    if pattern is grammar.LABEL:
        return f"{text.startswith('-')}{text.endswith('-')}" if text else ""
    return text[:1] if field is Field.PATH else "+" * bool(text)


def _fits(field: Field, text: str) -> bool:
    if field is Field.PATH:
        return text.startswith("/")
    return bool(text) and grammar.possible(field, text)
