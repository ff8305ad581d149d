"""Signed notes, checkpoints and cosignatures, byte for byte as C2SP has them.

c2sp.org/signed-note, /tlog-checkpoint, /tlog-cosignature. Ed25519 note signatures (0x01) by logs, timestamped
cosignatures (0x04) by witnesses. Unknown keys are ignored; a known key whose signature fails refuses the whole note.
"""

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519

from audit.errors import NoteError

NOTE, COSIGNATURE = 0x01, 0x04
MAX_NOTE_BYTES = 16384
MAX_SIGNATURES = 32
DASH = "\u2014 "
NAME = re.compile(r"[^\s+]{1,255}")
SIZE = re.compile(r"0|[1-9][0-9]{0,17}")
Sign = Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who may sign: a name, what kind of signature, and the raw Ed25519 key."""

    name: str
    kind: int
    key: bytes

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + bytes((self.kind,)) + self.key).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_b64(bytes((self.kind,)) + self.key)}"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A tree head: which log, how many entries, which root."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        return f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"


def parse_key(text: str) -> VerifierKey:
    """Read `<name>+<id>+<key>`; NoteError when the id is not the key's."""
    parts = text.split("+", 2)
    if len(parts) != 3 or not NAME.fullmatch(parts[0]):  # noqa: PLR2004
        raise NoteError("not a verifier key")
    body = _unb64(parts[2])
    if len(body) != 33 or body[0] not in {NOTE, COSIGNATURE}:  # noqa: PLR2004 - kind and 32 bytes
        raise NoteError("verifier key is of a kind we do not know")
    key = VerifierKey(parts[0], body[0], body[1:])
    if key.id.hex() != parts[1]:
        raise NoteError("verifier key's id is not its own")
    return key


def sign_checkpoint(checkpoint: Checkpoint, key: VerifierKey, sign: Sign) -> str:
    """The checkpoint as a signed note."""
    body = checkpoint.body()
    return f"{body}\n{_line(key, sign(body.encode()))}"


def cosign(note: str, key: VerifierKey, sign: Sign, now: int) -> str:
    """A witness's signature line over the body of `note` and the time."""
    body, _ = split(note)
    signature = sign(_cosigned(body, now))
    return _line(key, now.to_bytes(8, "big") + signature)


def open_checkpoint(note: str, keys: Sequence[VerifierKey]) -> tuple[Checkpoint, dict[str, int]]:
    """(checkpoint, {signer name: time, 0 for a log}) if at least one of `keys` signed; NoteError otherwise."""
    body, lines = split(note)
    signers: dict[str, int] = {}
    for name, identifier, signature in lines:
        for key in keys:
            if (key.name, key.id) == (name, identifier):
                signers[name] = _verify(key, body, signature)
    if not signers:
        raise NoteError("no key we know has signed")
    return _checkpoint(body), signers


def split(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """(body, [(key name, key id, signature)]), the last empty line between them."""
    if len(note.encode("utf-8", "replace")) > MAX_NOTE_BYTES:
        raise NoteError("note is too long")
    if any(ord(c) < 0x20 and c != "\n" for c in note):  # noqa: PLR2004 - control characters
        raise NoteError("note has control characters")
    head, gap, tail = note.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise NoteError("note has no signatures")
    lines = tail[:-1].split("\n")
    if len(lines) > MAX_SIGNATURES:
        raise NoteError("note has too many signatures")
    return head + "\n", [_signature(line) for line in lines]


def _signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, blob = line.removeprefix(DASH).partition(" ")
    if not line.startswith(DASH) or not space or not NAME.fullmatch(name):
        raise NoteError("note has a malformed signature line")
    raw = _unb64(blob)
    if len(raw) <= 4:  # noqa: PLR2004 - key id, then something
        raise NoteError("note has an empty signature")
    return name, raw[:4], raw[4:]


def _verify(key: VerifierKey, body: str, signature: bytes) -> int:
    time = int.from_bytes(signature[:8], "big") if key.kind == COSIGNATURE else 0
    signed, blob = (body.encode(), signature) if key.kind == NOTE else (_cosigned(body, time), signature[8:])
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key.key).verify(blob, signed)
    except (InvalidSignature, ValueError) as exc:
        raise NoteError(f"signature of `{key.name}` does not verify") from exc
    return time


def _checkpoint(body: str) -> Checkpoint:
    lines = body.split("\n")
    if len(lines) < 4 or not lines[0] or not SIZE.fullmatch(lines[1]):  # noqa: PLR2004 - three lines, each ended
        raise NoteError("note is no checkpoint")
    root = _unb64(lines[2])
    if len(root) != 32:  # noqa: PLR2004 - SHA-256
        raise NoteError("checkpoint's root is not a SHA-256 hash")
    return Checkpoint(lines[0], int(lines[1]), root)


def _cosigned(body: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{body}".encode()


def _line(key: VerifierKey, signature: bytes) -> str:
    return f"{DASH}{key.name} {_b64(key.id + signature)}\n"


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise NoteError("note has malformed base64") from exc
    if _b64(data) != text:
        raise NoteError("note has base64 in another spelling")
    return data
