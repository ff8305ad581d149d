"""Keys in a key management service, or wherever `securesystemslib` finds signers: AWS, Google, Azure, Vault, files.

A file says which of our keys is which of theirs: keys are made there, and never here. What comes back is verified: a URI that
leads to another key than the public half beside it signs nothing.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from certs.keys import ECDSA_SHA256, is_p256
from controlplane.errors import ExistsError, InvalidError, NotFoundError, UnavailableError

CA, JWT = "-ca-", "jwt-"


@dataclass(frozen=True, slots=True, kw_only=True)
class KmsKey:
    """Where a key is, and its public half."""

    uri: str
    public: ec.EllipticCurvePublicKey


class KmsSigner:
    """The keys of one file, by our names."""

    def __init__(self, known: Mapping[str, KmsKey]) -> None:
        try:
            from securesystemslib import signer  # an extra: most control planes have no such service
        except ImportError as exc:
            raise InvalidError("securesystemslib is not installed", hint="install writ-mesh[kms]") from exc
        self._library, self._known = signer, dict(known)
        self._taken: set[str] = set()
        self._open: dict[str, Any] = {}

    def create(self, name: str, kind: str) -> ec.EllipticCurvePublicKey:
        """Take a key that was made there; ExistsError when it was taken before."""
        if kind != "p256" or name not in self._known:
            hint = "make it there, and name it in keys.kms_file"
            raise InvalidError(f"there is no P-256 key `{name[:64]}` in the service", hint=hint)
        if name in self._taken:
            raise ExistsError(f"key `{name}` is taken")
        self._taken.add(name)
        return self._known[name].public

    def keeps(self, name: str) -> bool:
        """All CAs; and all keys of JWT-SVIDs, if there is one of them: else they are in files, where we make them ourselves."""
        return name in self._known or CA in name or (name.startswith(JWT) and bool(self.spares(JWT)))

    def spares(self, prefix: str) -> Sequence[str]:
        return sorted(name for name in self._known if name.startswith(prefix))

    def has(self, name: str) -> bool:
        return name in self._known

    def public_key(self, name: str) -> ec.EllipticCurvePublicKey:
        if name not in self._known:
            raise NotFoundError(f"there is no key `{name[:64]}` in keys.kms_file")
        return self._known[name].public

    def sign(self, name: str, data: bytes) -> bytes:
        public = self.public_key(name)
        try:
            signature = bytes.fromhex(self._signer(name).sign(data).signature)
            public.verify(signature, data, ECDSA_SHA256)
        except InvalidSignature as exc:
            raise UnavailableError(
                f"key `{name}`: the service holds another key than its public half"
            ) from exc
        except Exception as exc:  # each service has errors of its own, and none is of a common kind
            raise UnavailableError(f"key `{name}` cannot be used: {exc}") from exc
        return signature

    def _signer(self, name: str) -> Any:
        if name not in self._open:
            known, library = self._known[name], self._library
            key = library.SSlibKey.from_crypto(known.public)
            self._open[name] = library.Signer.from_priv_key_uri(known.uri, key)
        return self._open[name]


def load(path: Path) -> KmsSigner:
    """Read a file of tables, one for each key: `uri`, and `public_key_file` with a PEM; InvalidError names what is wrong."""
    try:
        tables = tomllib.loads(path.read_text())
        return KmsSigner({name: _key(name, table, path.parent) for name, table in tables.items()})
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise InvalidError(f"`{path}` cannot be read: {exc}", hint="keys.kms_file") from exc


def _key(name: str, table: object, beside: Path) -> KmsKey:
    if not isinstance(table, dict) or table.keys() != {"uri", "public_key_file"}:
        raise InvalidError(f"key `{name[:64]}` must have `uri` and `public_key_file`, and nothing else")
    try:
        public = load_pem_public_key((beside / table["public_key_file"]).read_bytes())
    except (OSError, ValueError, TypeError) as exc:
        raise InvalidError(f"public half of key `{name[:64]}` cannot be read: {exc}") from exc
    if not isinstance(public, ec.EllipticCurvePublicKey) or not is_p256(public):
        raise InvalidError(f"key `{name[:64]}` is not P-256")
    return KmsKey(uri=str(table["uri"]), public=public)
