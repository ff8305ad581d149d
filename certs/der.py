"""The few DER encodings that a certificate template varies, and where one value ends. Reading is the library's."""

from datetime import UTC, datetime
from functools import lru_cache

GENERALIZED_FROM = 2050  # RFC 5280 4.1.2.5


def tlv(tag: int, *contents: bytes) -> bytes:
    body = b"".join(contents)
    size = len(body)
    if size < 0x80:  # noqa: PLR2004 - short form
        return bytes((tag, size)) + body
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


def sequence(*contents: bytes) -> bytes:
    return tlv(0x30, *contents)


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """OBJECT IDENTIFIER (X.690 8.19) whose arcs are below 16384: those of names are."""
    first, second, *arcs = map(int, dotted.split("."))
    body = [bytes([arc]) if arc < 0x80 else bytes([0x80 | arc >> 7, arc & 0x7F]) for arc in arcs]  # noqa: PLR2004 - base 128
    return tlv(0x06, bytes([40 * first + second]), *body)


def octets(body: bytes) -> bytes:
    return tlv(0x04, body)


def bits(body: bytes) -> bytes:
    return tlv(0x03, b"\x00", body)


@lru_cache(maxsize=16)  # what is issued within a second has the same two
def time(unix_s: int) -> bytes:
    moment = datetime.fromtimestamp(unix_s, UTC)
    if moment.year < GENERALIZED_FROM:
        return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())


def split(data: bytes) -> list[bytes]:
    """The sequences that stand one after another in `data`, unread; ValueError when it does not come out even."""
    found = []
    while data:
        size, start = data[1] if len(data) > 1 else 0, 2
        if size & 0x80:
            start += size & 0x7F
            size = int.from_bytes(data[2:start], "big")
        if data[0] != 0x30 or not 0 < size <= len(data) - start:  # noqa: PLR2004 - SEQUENCE
            raise ValueError("not a row of DER sequences")
        found.append(data[: start + size])
        data = data[start + size :]
    return found
