"""RFC 8785 canonical JSON for the values we sign: strings, integers below 2^53, booleans, null, lists, objects.

Floats are refused both ways: they are where canonicalisations differ. Reading is strict: no duplicate keys, and
the bytes must be the canonical form of what they say, so that one value has one digest.
"""

import json
from typing import Any

from certs.errors import EnvelopeError

Json = None | bool | int | str | list["Json"] | dict[str, "Json"]
INT_LIMIT = 1 << 53
MAX_DEPTH = 64


def dumps(value: Json) -> bytes:
    """The one byte string that stands for `value`; RuntimeError for values that have none."""
    _check(value, 0)
    # Keys sort by UTF-16 code units (RFC 8785 3.2.3); Python sorts by code points, the same below U+E000.
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise RuntimeError("text with a lone surrogate has no canonical form") from exc


def loads(data: bytes, max_bytes: int) -> Any:
    """Parse canonical JSON; EnvelopeError for anything else."""
    if len(data) > max_bytes:
        raise EnvelopeError(f"document of `{len(data)}` bytes is over the limit of `{max_bytes}`")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_float=_no_float, parse_constant=_no_float
        )
    except (ValueError, RecursionError) as exc:
        raise EnvelopeError(f"not canonical JSON: {exc}") from exc
    try:
        same = dumps(value) == data
    except RuntimeError as exc:
        raise EnvelopeError(f"not canonical JSON: {exc}") from exc
    if not same:
        raise EnvelopeError("not canonical JSON: another spelling of the same value")
    return value


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise RuntimeError(f"nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool | str):
        return
    if isinstance(value, int):
        if abs(value) >= INT_LIMIT:
            raise RuntimeError("integer outside what JSON readers agree on")
    elif isinstance(value, list):
        for item in value:
            _check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or max(key, default="") >= "\ue000":
                raise RuntimeError("object keys are strings below U+E000")
            _check(item, depth + 1)
    else:
        raise RuntimeError(f"`{type(value).__name__}` has no canonical form")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _no_float(text: str) -> None:
    raise ValueError(f"number `{text[:32]}` is not an integer")
