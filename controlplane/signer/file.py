"""Keys as files: encrypted PKCS#8, mode 0600, in a directory of mode 0700.

The passphrase comes from WRIT_KEY_PASSPHRASE_FILE; for unattended start `init` writes one, to a path that should be on
another volume than the keys: whoever copies both has the keys.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from certs import keys
from certs.errors import KeyFormatError
from controlplane.errors import CorruptError, ExistsError, InvalidError, NotFoundError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


class FileSigner:
    """Loads a key at first use and keeps it for the life of the process."""

    def __init__(self, directory: Path, passphrase: bytes) -> None:
        if not passphrase:
            raise InvalidError("the key passphrase is empty")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        self._directory, self._passphrase = directory, passphrase
        self._loaded: dict[str, keys.PrivateKey] = {}

    def create(self, name: str, kind: str) -> keys.PublicKey:
        return self.adopt(name, keys.generate(kind))

    def adopt(self, name: str, key: keys.PrivateKey) -> keys.PublicKey:
        """Keep a key that was made elsewhere; ExistsError when the name is taken."""
        try:
            descriptor = os.open(self._path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError as exc:
            raise ExistsError(f"key `{name}` exists") from exc
        with os.fdopen(descriptor, "wb") as file:
            file.write(keys.dump_private(key, self._passphrase))
            file.flush()
            os.fsync(file.fileno())
        self._loaded[name] = key
        return key.public_key()

    def names(self) -> set[str]:
        """Of all keys that are held."""
        return {path.stem for path in self._directory.glob("*.pem")}

    def destroy(self, name: str) -> None:
        """Forget a key for good. What it signed stays valid: see to that first."""
        self._loaded.pop(name, None)
        self._path(name).unlink(missing_ok=True)

    def spares(self, prefix: str) -> Sequence[str]:
        del prefix
        return ()

    def has(self, name: str) -> bool:
        return self._path(name).exists()

    def public_key(self, name: str) -> keys.PublicKey:
        return self._load(name).public_key()

    def sign(self, name: str, data: bytes) -> bytes:
        return keys.sign(self._load(name), data)

    def ceremony_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """The root's private key, or a new CA's, for the X.509 builder: only `setup`, `join` and `ca_authorities` may ask."""
        key = self._read(name)  # not kept: a root that is taken offline is gone from memory, too
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise InvalidError(f"key `{name}` is not P-256")
        return key

    def shared_key(self, name: str) -> bytes:
        """The witness's private key, PEM, for the sealed store: replicas are one witness. Only `replicas` may ask."""
        return keys.dump_private(self._load(name), None)

    def _load(self, name: str) -> keys.PrivateKey:
        if name not in self._loaded:
            self._loaded[name] = self._read(name)
        return self._loaded[name]

    def _read(self, name: str) -> keys.PrivateKey:
        try:
            pem = self._path(name).read_bytes()
        except FileNotFoundError as exc:
            raise NotFoundError(f"there is no key `{name}` in `{self._directory}`") from exc
        try:
            return keys.load_private(pem, self._passphrase)
        except KeyFormatError as exc:
            hint = "is the passphrase file the one of this directory?"
            raise CorruptError(f"key `{name}`: {exc}", hint=hint) from exc

    def _path(self, name: str) -> Path:
        if not NAME.fullmatch(name):
            raise InvalidError(f"`{name[:64]}` is no key name")
        return self._directory / f"{name}.pem"
