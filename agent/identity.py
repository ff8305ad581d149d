"""Who this node is: its key and certificate, kept together in one file so that they can never be a mismatched pair.

The file is verified before it is used and replaced whole; the key leaves it only for Envoy, over the agent's own socket.
"""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import IdentityError
from certs import keys, verify
from certs.attributes import Attributes, rendered
from certs.errors import CertError
from certs.spiffe import SpiffeId
from controlplane.api import files
from policies.roots import Roots

FILE = "identity.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A verified key and certificate chain."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]  # DER, leaf first
    spiffe_id: SpiffeId
    epoch: int
    attributes: Attributes
    subject: str  # as Envoy renders it
    serial: int
    not_before: int
    not_after: int

    @property
    def key_pem(self) -> bytes:
        return keys.dump_private(self.key, None)

    @property
    def chain_pem(self) -> bytes:
        return pem(*self.chain)


def make(key: ec.EllipticCurvePrivateKey, chain: tuple[bytes, ...], root: bytes, now: int) -> Identity:
    """Verify that key, leaf, issuing CA and root belong together; IdentityError otherwise. Expiry is not judged."""
    try:
        if len(chain) != 2:  # noqa: PLR2004 - leaf and issuing CA
            raise IdentityError("a chain is a leaf and its issuing CA")
        found = verify.verify_expired_node(chain[0], [chain[1]], trust_domain(root), now, grace_s=1 << 40)
        verify.load(chain[1]).verify_directly_issued_by(verify.load(root))
    except (CertError, ValueError, TypeError) as exc:
        raise IdentityError(f"certificate cannot be used: {exc}") from exc
    if keys.spki_sha256(key.public_key()) != found.spki_sha256:
        raise IdentityError("certificate is for another key")
    return Identity(
        key=key,
        chain=chain,
        spiffe_id=found.spiffe_id,
        epoch=found.epoch,
        attributes=found.attributes,
        subject=rendered(verify.load(chain[0]).subject),
        serial=found.serial,
        not_before=found.not_before,
        not_after=found.not_after,
    )


def save(directory: Path, identity: Identity) -> None:
    chain = [base64.b64encode(der).decode() for der in identity.chain]
    document = {"key": identity.key_pem.decode(), "chain": chain}
    files.write(directory / FILE, json.dumps(document).encode())


def load(directory: Path, known: bytes | Roots, now: int) -> Identity | None:
    """The identity on disk, verified by the root, or whichever of them its CA names; None if there is none."""
    raw = files.read(directory / FILE)
    if raw is None:
        return None
    try:
        document = json.loads(raw)
        key = keys.load_private(document["key"].encode(), None)
        chain = tuple(base64.b64decode(text) for text in document["chain"])
    except (ValueError, KeyError, TypeError, CertError) as exc:
        raise IdentityError(f"`{directory / FILE}` is malformed", hint="remove it and enrol again") from exc
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise IdentityError(f"`{directory / FILE}` holds another kind of key")
    above = known.above(chain[-1] if chain else b"") if isinstance(known, Roots) else known
    return make(key, chain, above, now)


def pem(*certificates: bytes) -> bytes:
    loaded = map(x509.load_der_x509_certificate, certificates)
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in loaded)


def trust_domain(root: bytes) -> str:
    """The trust domain a root is of."""
    names = verify.load(root).subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    if len(names) != 1:
        raise IdentityError("the root names no trust domain")
    return str(names[0].value)
