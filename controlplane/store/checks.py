"""What every adapter refuses before it touches storage: the limits of the strictest of them."""

from collections.abc import Iterable, Mapping, Sequence

from controlplane.errors import ConflictError, InvalidError
from controlplane.store.base import MAX_COMMIT_BYTES, MAX_KEY_BYTES, MAX_OPERATIONS, MAX_VALUE_BYTES, Expect


def check_commit(expect: Expect, put: Mapping[str, bytes], delete: Sequence[str]) -> None:
    if not put and not delete:
        raise RuntimeError("a commit changes something")
    if set(put) & set(delete):
        raise RuntimeError("a key is put and deleted in one commit")
    if len(expect) + len(put) + len(delete) > MAX_OPERATIONS:
        raise InvalidError(f"more than {MAX_OPERATIONS} operations in one commit")
    _check_keys((*expect, *put, *delete))
    for key, value in put.items():
        if len(value) > MAX_VALUE_BYTES:
            raise InvalidError(f"value of `{key}` is larger than {MAX_VALUE_BYTES} bytes")
    if commit_bytes(expect, put, delete) > MAX_COMMIT_BYTES:
        raise InvalidError(f"more than {MAX_COMMIT_BYTES} bytes in one commit")


def commit_bytes(expect: Expect, put: Mapping[str, bytes], delete: Sequence[str]) -> int:
    """What a commit weighs on the wire, nearly; an upper bound for keys of ASCII."""
    return sum(len(key) for key in (*expect, *put, *delete)) + sum(map(len, put.values()))


def _check_keys(keys: Iterable[str]) -> None:
    for key in keys:
        if not key or len(key.encode()) > MAX_KEY_BYTES or "\x00" in key:
            raise InvalidError(f"`{key[:64]}` is no key")


def conflict(key: str, expected: int, found: int) -> ConflictError:
    return ConflictError(f"`{key}` changed meanwhile: expected revision {expected}, found {found}")
