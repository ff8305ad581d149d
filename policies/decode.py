"""Strict readers of decoded JSON: exact keys, exact types, bounded values. Everything else is a `ContentError`."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

from certs import canonical
from certs.errors import EnvelopeError
from policies.errors import ContentError

T = TypeVar("T")

INT_MAX = 2**53 - 1  # RFC 8785: beyond it JSON numbers are not exact everywhere


def dumps(value: Any) -> bytes:
    """Canonical JSON of what our own code built."""
    return canonical.dumps(value)


def loads(data: bytes, max_bytes: int) -> object:
    """Canonical JSON within a bound; `certs.canonical` refuses doubled keys and every second spelling."""
    try:
        value: object = canonical.loads(data, max_bytes)
    except EnvelopeError as exc:
        raise ContentError(str(exc)) from exc
    return value


def record(value: object, what: str, *keys: str) -> dict[str, object]:
    """An object with exactly these keys."""
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise ContentError(f"{what} must be an object with exactly {', '.join(f'`{key}`' for key in keys)}")
    return value


def items(
    value: object, what: str, read: Callable[[object], T], *, most: int, least: int = 0
) -> tuple[T, ...]:
    """A list of bounded length, each element read by `read`."""
    if not isinstance(value, list) or not least <= len(value) <= most:
        raise ContentError(f"{what} must be a list of {least} to {most} elements")
    return tuple(read(item) for item in value)


def distinct(values: tuple[T, ...], what: str) -> frozenset[T]:
    """The elements as a set; a doubled one would be a second spelling of the same document."""
    unique = frozenset(values)
    if len(unique) != len(values):
        raise ContentError(f"{what} holds an element twice")
    return unique


def text(value: object, what: str, pattern: re.Pattern[str] | None = None, *, most: int = 1024) -> str:
    """A string of bounded length that matches `pattern` whole."""
    if not isinstance(value, str) or len(value) > most:
        raise ContentError(f"{what} must be a string of at most {most} characters")
    if pattern is not None and not pattern.fullmatch(value):
        raise ContentError(f"{what} `{value[:80]}` does not match `{pattern.pattern}`")
    return value


def integer(value: object, what: str, *, least: int = 0, most: int = INT_MAX) -> int:
    """A whole number in range; `true` is not one."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ContentError(f"{what} must be a whole number from {least} to {most}")
    return value
