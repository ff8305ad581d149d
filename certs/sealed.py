"""A secret under a passphrase that a person keeps, or under shares of a key: a small JSON file, authenticated whole.

scrypt (RFC 7914) makes guessing a passphrase slow: half a second and 128 MiB a guess. ChaCha20-Poly1305 seals; what says how
it was sealed is authenticated with it, so that nobody makes the file easier to guess.
"""

import base64
from collections.abc import Callable, Sequence
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from certs import canonical, shares
from certs.errors import EnvelopeError, KeyFormatError, SealedError

VERSION = 1
COST, BLOCK, PARALLEL = 1 << 17, 8, 1
KEY_BYTES, SALT_BYTES, NONCE_BYTES = 32, 16, 12
MIN_PASSPHRASE = 12
MAX_BYTES = 1 << 20
SHARE = "writ-share1."
Random = Callable[[int], bytes]


def seal(secret: bytes, passphrase: bytes, random_bytes: Random) -> bytes:
    """Under a passphrase; KeyFormatError when that is too short to be one."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise KeyFormatError(f"a passphrase has at least {MIN_PASSPHRASE} characters")
    salt = random_bytes(SALT_BYTES)
    return _seal(secret, _derived(passphrase, salt), {"by": "passphrase", "salt": _b64(salt)}, random_bytes)


def open_sealed(data: bytes, passphrase: bytes) -> bytes:
    """The secret; SealedError when the passphrase is another, or a byte was changed."""
    header, _ = _parsed(data)
    if header.get("by") != "passphrase":
        raise SealedError("it was sealed under shares, not under a passphrase")
    return _open(data, _derived(passphrase, _unb64(header.get("salt"))))


def seal_shared(secret: bytes, count: int, threshold: int, random_bytes: Random) -> tuple[bytes, list[str]]:
    """Under a key that is kept by nobody: the file, and `count` shares as text, any `threshold` of which open it."""
    key = random_bytes(KEY_BYTES)
    made = shares.split(key, count, threshold, random_bytes)
    sealed = _seal(secret, key, {"by": "shares", "threshold": threshold}, random_bytes)
    return sealed, [f"{SHARE}{x}.{_b64(values)}" for x, values in made]


def open_shared(data: bytes, given: Sequence[str]) -> bytes:
    """The secret; SealedError when these are not enough of its shares."""
    header, _ = _parsed(data)
    if header.get("by") != "shares":
        raise SealedError("it was sealed under a passphrase, not under shares")
    distinct = {text.strip() for text in given}
    if len(distinct) < int(header.get("threshold", 0)):
        raise SealedError(f"`{header.get('threshold')}` shares are needed, these are `{len(distinct)}`")
    return _open(data, shares.join([_share(text) for text in sorted(distinct)]))


def _share(text: str) -> shares.Share:
    number, dot, values = text.removeprefix(SHARE).partition(".")
    if not text.startswith(SHARE) or not dot or not number.isdigit():
        raise SealedError("this is no share")
    return int(number), _unb64(values)


def _seal(secret: bytes, key: bytes, how: dict[str, Any], random_bytes: Random) -> bytes:
    header = {"v": VERSION, **how}
    nonce = random_bytes(NONCE_BYTES)
    sealed = ChaCha20Poly1305(key).encrypt(nonce, secret, canonical.dumps(header))
    return canonical.dumps({"header": header, "nonce": _b64(nonce), "sealed": _b64(sealed)})


def _open(data: bytes, key: bytes) -> bytes:
    header, document = _parsed(data)
    if len(key) != KEY_BYTES:
        raise SealedError("shares are of another secret")
    try:
        nonce, sealed = _unb64(document.get("nonce")), _unb64(document.get("sealed"))
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, canonical.dumps(header))
    except (InvalidTag, ValueError) as exc:
        raise SealedError("it does not open: another passphrase or share, or changed bytes") from exc


def _parsed(data: bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    try:
        document: Any = canonical.loads(data.strip(), MAX_BYTES)
        header = document["header"]
        if header["v"] != VERSION:
            raise SealedError("it is of a version we do not know")
    except (EnvelopeError, KeyError, TypeError) as exc:
        raise SealedError("this is nothing that was sealed") from exc
    return header, document


def _derived(passphrase: bytes, salt: bytes) -> bytes:
    return Scrypt(salt=salt, length=KEY_BYTES, n=COST, r=BLOCK, p=PARALLEL).derive(passphrase)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: object) -> bytes:
    try:
        return base64.b64decode(str(text), validate=True)
    except ValueError as exc:
        raise SealedError("this is nothing that was sealed") from exc
