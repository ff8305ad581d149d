"""The few DER encodings that a certificate template varies. Writing only; reading is the library's."""

from datetime import UTC, datetime

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


def octets(body: bytes) -> bytes:
    return tlv(0x04, body)


def bits(body: bytes) -> bytes:
    return tlv(0x03, b"\x00", body)


def time(unix_s: int) -> bytes:
    moment = datetime.fromtimestamp(unix_s, UTC)
    if moment.year < GENERALIZED_FROM:
        return tlv(0x17, moment.strftime("%y%m%d%H%M%SZ").encode())
    return tlv(0x18, moment.strftime("%Y%m%d%H%M%SZ").encode())
