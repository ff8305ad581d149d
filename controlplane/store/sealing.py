"""Values at rest outside this machine: AES-256-GCM, with a key that is in a file and never in the store.

1. A value is bound to its key (associated data): moved to another key, it does not open.
2. The key's id stands in the value: a wrong key file is named as such, and keys can be replaced one after the other.
3. No nonce repeats: each process derives a key of its own from a random salt (HKDF-SHA256), and counts.

Names of keys are not hidden, nor sizes, nor when something changed.
"""

import base64
import binascii
import hashlib
import os
import secrets
from functools import lru_cache
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.errors import CorruptError, InvalidError, UnavailableError

VERSION = b"\x01"
KEY_BYTES, ID_BYTES, SALT_BYTES, NONCE_BYTES, TAG_BYTES = 32, 4, 16, 12, 16
OVERHEAD = len(VERSION) + ID_BYTES + SALT_BYTES + NONCE_BYTES + TAG_BYTES
MAX_PER_SALT = 1 << 32  # messages under one derived key, far below what GCM bears
INFO = b"writ store value"


class Sealer:
    """Seals with the first key of the file, opens with any of them."""

    def __init__(self, keys: list[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise RuntimeError("a sealer needs keys of 32 bytes")
        self._keys = {key_id(key): key for key in keys}
        self.key_id = key_id(keys[0])
        self._count, self._salt = MAX_PER_SALT, b""
        self._derived = lru_cache(maxsize=256)(self._derive)

    def seal(self, name: str, value: bytes) -> bytes:
        if self._count >= MAX_PER_SALT:
            self._count, self._salt = 0, os.urandom(SALT_BYTES)
        nonce = self._count.to_bytes(NONCE_BYTES, "big")
        self._count += 1
        sealed = self._derived(self.key_id, self._salt).encrypt(nonce, value, name.encode())
        return VERSION + self.key_id + self._salt + nonce + sealed

    def open(self, name: str, data: bytes) -> bytes:
        """CorruptError says whether the key is another, or the bytes are not what was written under this name."""
        version, id_, salt, nonce, sealed = _split(data)
        if version != VERSION:
            raise CorruptError(f"`{name}` was not written by this program", hint="is the prefix ours alone?")
        if id_ not in self._keys:
            hint = f"the value names key `{id_.hex()}`, the file has {self.names()}"
            raise CorruptError(f"`{name}` is encrypted with another key", hint=hint)
        try:
            return self._derived(id_, salt).decrypt(nonce, sealed, name.encode())
        except InvalidTag as exc:
            raise CorruptError(f"`{name}` was altered after it was written", hint="restore a backup") from exc

    def names(self) -> str:
        return ", ".join(f"`{id_.hex()}`" for id_ in self._keys)

    def _derive(self, id_: bytes, salt: bytes) -> AESGCM:
        kdf = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=INFO)
        return AESGCM(kdf.derive(self._keys[id_]))


def _split(data: bytes) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    if len(data) < OVERHEAD:
        return b"", b"", b"", b"", b""
    marks = (1, 1 + ID_BYTES, 1 + ID_BYTES + SALT_BYTES, 1 + ID_BYTES + SALT_BYTES + NONCE_BYTES)
    return (
        data[: marks[0]],
        data[marks[0] : marks[1]],
        data[marks[1] : marks[2]],
        data[marks[2] : marks[3]],
        data[marks[3] :],
    )


def key_id(key: bytes) -> bytes:
    """A name for a key that says nothing about it."""
    return hashlib.sha256(b"writ store key\n" + key).digest()[:ID_BYTES]


def new_key_file(path: Path) -> bool:
    """A key file with one fresh key, 0600; an existing one is kept, which is False."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() + "\n")
    return True


def load_key_file(path: Path) -> Sealer:
    """One key a line, base64 of 32 bytes; the first seals, the others only open what they sealed before."""
    try:
        lines = path.read_text().split()
        keys = [base64.b64decode(line, validate=True) for line in lines]
    except OSError as exc:
        hint = "set store.kek_file to the file that `writ init` wrote; it is not kept in etcd"
        raise UnavailableError(
            f"cannot read the store's key file `{path}`: {exc.strerror}", hint=hint
        ) from exc
    except (binascii.Error, UnicodeDecodeError) as exc:
        raise InvalidError(f"`{path}` is no key file", hint="one base64 key of 32 bytes a line") from exc
    if not keys or any(len(key) != KEY_BYTES for key in keys):
        raise InvalidError(f"`{path}` is no key file", hint="one base64 key of 32 bytes a line")
    return Sealer(keys)
