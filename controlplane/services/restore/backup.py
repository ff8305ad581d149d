"""A backup of the store as one file: every row of one revision, encrypted under the store's key file, bounded. Bytes in and out.

    header   one line of JSON: format, version, whose it is, when and of which revision, how much follows, its SHA-256
    chunks   4 bytes length, then a sealed value (`store.sealing`) that holds rows

1. Each chunk is bound to the header and to its place: chunks of another backup, left out or in another order, do not open.
2. Damage is told apart from a wrong key: the digest needs none.
3. Nothing is handed out before all of it was found to be right.
"""

import hashlib
import json
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Protocol, get_type_hints

from controlplane.errors import CorruptError, InvalidError
from controlplane.store.base import MAX_KEY_BYTES, MAX_VALUE_BYTES, Item

FORMAT, VERSION = "writ-backup", 1
CHUNK_BYTES = 1 << 20
MAX_HEADER_BYTES = 4096
MAX_CHUNK_BYTES = 2 * CHUNK_BYTES + MAX_VALUE_BYTES
MAX_BACKUP_BYTES = 4 << 30
LENGTH = struct.Struct(">I")
ROW = struct.Struct(">HI")  # key, value


class Seals(Protocol):
    """Who encrypts: `store.sealing.Sealer`."""

    def seal(self, name: str, value: bytes) -> bytes: ...

    def open(self, name: str, data: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a backup says of itself, readable by everybody."""

    trust_domain: str
    taken_at: int  # Unix seconds
    revision: int
    rows: int
    chunks: int
    sha256: str = ""  # hex, of everything after this line
    format: str = FORMAT
    version: int = VERSION

    def line(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True).encode() + b"\n"

    def name(self, number: int) -> str:
        """What chunk `number` is sealed under."""
        bound = hashlib.sha256(replace(self, sha256="").line()).hexdigest()
        return f"{FORMAT}/{bound}/{number}"


SHAPE = {name: get_type_hints(Header)[name] for name in Header.__dataclass_fields__}


def dump(trust_domain: str, items: Sequence[Item], revision: int, now: int, sealer: Seals) -> bytes:
    """The file."""
    packed = list(_packed(items))
    header = Header(
        trust_domain=trust_domain, taken_at=now, revision=revision, rows=len(items), chunks=len(packed)
    )
    sealed = [sealer.seal(header.name(number), chunk) for number, chunk in enumerate(packed)]
    body = b"".join(LENGTH.pack(len(chunk)) + chunk for chunk in sealed)
    if len(body) > MAX_BACKUP_BYTES:
        raise InvalidError(f"the store is larger than a backup may be: {MAX_BACKUP_BYTES} bytes")
    return replace(header, sha256=hashlib.sha256(body).hexdigest()).line() + body


def load(data: bytes, sealer: Seals) -> tuple[Header, dict[str, bytes]]:
    """Header and rows; CorruptError says whether the file is none of ours, damaged, or under another key."""
    header, body = _header(data)
    if hashlib.sha256(body).hexdigest() != header.sha256:
        raise CorruptError("the backup is damaged: its checksum differs", hint="take another copy")
    rows: dict[str, bytes] = {}
    chunks = list(_chunks(body))
    if len(chunks) != header.chunks:
        raise CorruptError(f"the backup has {len(chunks)} chunks, its header says {header.chunks}")
    for number, chunk in enumerate(chunks):
        rows.update(_rows(sealer.open(header.name(number), chunk)))
    if len(rows) != header.rows:
        raise CorruptError(f"the backup has {len(rows)} rows, its header says {header.rows}")
    return header, rows


def _packed(items: Sequence[Item]) -> Iterator[bytes]:
    chunk = bytearray()
    for item in items:
        key = item.key.encode()
        chunk += ROW.pack(len(key), len(item.value)) + key + item.value
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    if chunk:
        yield bytes(chunk)


def _header(data: bytes) -> tuple[Header, bytes]:
    line, newline, _ = data[:MAX_HEADER_BYTES].partition(b"\n")
    try:
        fields = json.loads(line)
        if fields["format"] != FORMAT:
            raise ValueError(fields["format"])
        version = fields["version"]
    except (ValueError, KeyError, TypeError) as exc:
        raise CorruptError("this is no backup of `writ backup create`") from exc
    if version != VERSION:
        hint = "restore it with the version of Writ that made it, or a newer one"
        raise CorruptError(f"the backup has format {version}, this program knows {VERSION}", hint=hint)
    if not newline or {name: type(value) for name, value in fields.items()} != SHAPE:
        raise CorruptError("the backup's header is malformed")
    return Header(**fields), data[len(line) + 1 :]


def _chunks(body: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(body):
        if at + LENGTH.size > len(body):
            raise CorruptError("the backup ends within a chunk")
        (length,) = LENGTH.unpack_from(body, at)
        at += LENGTH.size
        if length > MAX_CHUNK_BYTES or at + length > len(body):
            raise CorruptError("the backup ends within a chunk")
        yield body[at : at + length]
        at += length


def _rows(chunk: bytes) -> Iterator[tuple[str, bytes]]:
    at = 0
    while at < len(chunk):
        key_bytes, value_bytes = ROW.unpack_from(chunk, at)
        at += ROW.size
        if (
            key_bytes > MAX_KEY_BYTES
            or value_bytes > MAX_VALUE_BYTES
            or at + key_bytes + value_bytes > len(chunk)
        ):
            raise CorruptError("the backup holds a row that no store could hold")
        yield chunk[at : at + key_bytes].decode(), chunk[at + key_bytes : at + key_bytes + value_bytes]
        at += key_bytes + value_bytes
