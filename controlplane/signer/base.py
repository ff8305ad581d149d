"""The signer port: keys by name, that sign and never leave. Names are ours: `root`, `node-ca-…`, `documents-…`."""

from collections.abc import Sequence
from typing import Protocol

from certs.keys import PublicKey


class Signer(Protocol):
    """Holds private keys. Implementations: files; later KMS and HSM."""

    def create(self, name: str, kind: str) -> PublicKey:
        """Make a key (`p256`, `ed25519`, `ml-dsa-65`) under a new name; ExistsError when the name is taken."""
        ...

    def spares(self, prefix: str) -> Sequence[str]:
        """Names that begin so, of keys that are made by their owner and not by us. None where we make them."""
        ...

    def public_key(self, name: str) -> PublicKey:
        """NotFoundError when there is no such key."""
        ...

    def sign(self, name: str, data: bytes) -> bytes:
        """Ed25519 or ML-DSA-65, or DER ECDSA over SHA-256."""
        ...
