"""The strict reader of gRPC requests: one string of the one message, if no server can read another. Bytes in, values out.

The proxy's reader (`agent/envoy/classify.lua`) follows the same rules.
(1) The body is one length-prefixed message, not compressed, and nothing behind it.
(2) Every tag and length is a varint in its shortest form; field numbers are 1 to 2^29-1; no groups.
(3) The wanted field stands at most once, length-delimited: of two, parsers take the last, some the first.
What the other fields hold is only skipped: what is inside a submessage is no field of ours.
"""

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WIDTH = {FIXED64: 8, FIXED32: 4}
_MAX_FIELD = (1 << 29) - 1
_PREFIX = 5


class _Refused(Exception):  # noqa: N818  # never leaves this module
    """The body breaks a rule."""


def read(body: bytes, field: int) -> str | None:
    """The wanted string of the message; None when it is not there or the body breaks a rule."""
    try:
        return _message(_framed(body), field)
    except _Refused:
        return None


def first(body: bytes) -> bytes:
    """The first length-prefixed message of a stream, with its prefix."""
    return body[: _PREFIX + int.from_bytes(body[1:_PREFIX], "big")]


def _framed(body: bytes) -> bytes:
    """(1)"""
    if len(body) < _PREFIX or body[0] != 0 or int.from_bytes(body[1:_PREFIX], "big") != len(body) - _PREFIX:
        raise _Refused
    return body[_PREFIX:]


def _message(message: bytes, wanted: int) -> str | None:
    found: bytes | None = None
    at = 0
    while at < len(message):
        tag, at = _varint(message, at, most=5)
        field, wire = tag >> 3, tag & 7
        if not 1 <= field <= _MAX_FIELD:
            raise _Refused
        start, at = _skip(message, at, wire)
        if field == wanted:
            if found is not None or wire != BYTES:  # (3)
                raise _Refused
            found = message[start:at]
    return None if found is None else found.decode("utf-8", "replace")


def _skip(message: bytes, at: int, wire: int) -> tuple[int, int]:
    """Where the value of a field begins and ends."""
    if wire == VARINT:
        return at, _varint(message, at, most=10, shortest=False)[1]
    if wire == BYTES:
        length, at = _varint(message, at, most=5)
    elif wire in _WIDTH:
        length = _WIDTH[wire]
    else:
        raise _Refused
    if at + length > len(message):
        raise _Refused
    return at, at + length


def _varint(message: bytes, at: int, *, most: int, shortest: bool = True) -> tuple[int, int]:
    value = 0
    for i in range(most):
        if at + i >= len(message):
            raise _Refused
        byte = message[at + i]
        value |= (byte & 0x7F) << (7 * i)
        if byte < 0x80:
            if shortest and i and byte == 0:  # (2)
                raise _Refused
            return value, at + i + 1
    raise _Refused
