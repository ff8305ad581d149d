"""Strict readers of what an operator wrote in YAML or JSON: known keys, right types, bounded. Else `InputError`.

`where` is the path to the entry, such as `cases[3].request`, so that the error says what to look at.
"""

import re
from collections.abc import Callable
from typing import TypeVar

from policies.errors import InputError

T = TypeVar("T")
MAX_TEXT = 1024
MAX_ITEMS = 100_000


def mapping(
    value: object, where: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, object]:
    """A mapping that has all of `required` and nothing that is in neither; a typo must not pass as a default."""
    if not isinstance(value, dict):
        raise InputError(where, "must be a mapping")
    for key in value:
        if key not in required + optional:
            known = ", ".join(sorted(required + optional))
            raise InputError(where, f"unknown field `{str(key)[:80]}`", hint=f"known fields: {known}")
    for key in required:
        if key not in value:
            raise InputError(where, f"lacks `{key}`")
    return value


def items(value: object, where: str, read: Callable[[object, str], T]) -> tuple[T, ...]:
    """A list, each element read by `read` with its own place; nothing is an empty list."""
    if value is None:
        return ()
    if not isinstance(value, list) or len(value) > MAX_ITEMS:
        raise InputError(where, f"must be a list of at most {MAX_ITEMS}")
    return tuple(read(item, f"{where}[{number}]") for number, item in enumerate(value, 1))


def text(value: object, where: str, pattern: re.Pattern[str] | None = None) -> str:
    """A string that matches `pattern` whole."""
    if not isinstance(value, str):
        # YAML 1.1 reads NO as false: Norway's policies have been lost to that before.
        raise InputError(where, "must be a string", hint="put it in quotes")
    if len(value) > MAX_TEXT or not value.isprintable():
        raise InputError(where, f"must be one line of at most {MAX_TEXT} characters")
    if pattern is not None and not pattern.fullmatch(value):
        raise InputError(where, f"`{value[:80]}` does not match `{pattern.pattern}`")
    return value


def words(value: object, where: str, pattern: re.Pattern[str] | None = None) -> frozenset[str]:
    """A list of distinct strings."""
    found = items(value, where, lambda item, place: text(item, place, pattern))
    if len(set(found)) != len(found):
        raise InputError(where, "names one thing twice")
    return frozenset(found)


def digit(value: object, where: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise InputError(where, f"must be a number from 0 to {most}")
    return value


def flag(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise InputError(where, "must be `true` or `false`")
    return value
