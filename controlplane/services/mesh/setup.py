"""`writ init`: everything a new mesh is made of. The root key is used here and can be taken offline afterwards.

Refuses a directory that holds a mesh: a second root would orphan every node.
"""

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs import authority, envelope, issue, keys, spiffe
from certs.document_keys import ED25519, SIZES
from certs.profile import CA_LIFETIME_S, OPERATOR_LIFETIME_S, CaKind, Profile
from controlplane.errors import ExistsError
from controlplane.services.authority import authorities
from controlplane.services.authority.authorities import Authorities
from controlplane.signer.file import FileSigner
from policies import payloads
from policies.documents import TYPE_DELEGATION, Delegation

DELEGATION_LIFETIME_S = 365 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """A first operator: PEM certificate chain and key, for its context."""

    certificate: bytes
    key: bytes


def check_free(directory: Path) -> None:
    if (directory / authorities.FILE).exists():
        raise ExistsError(
            f"`{directory}` holds a mesh", hint="give --dir another directory; a mesh has one root"
        )


def prepare_directory(directory: Path, passphrase_file: Path) -> bytes:
    """Make the state directory and, if there is none, a passphrase for unattended start. Returns the passphrase."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    if not passphrase_file.exists():
        passphrase_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(passphrase_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(32) + "\n")
    return passphrase_file.read_bytes().strip()


def make_mesh(
    trust_domain: str,
    directory: Path,
    signer: FileSigner,
    now: int,
    replica: str = "1",
    algorithms: tuple[str, ...] = (ED25519,),
) -> Authorities:
    """Root, the three issuing CAs, the delegated document key, the witness key; public halves saved.

    `algorithms`: what every document of this mesh must be signed with.
    """
    spiffe.trust_domain(trust_domain)
    signer.create("root", "p256")
    root_key = signer.ceremony_key("root")
    root = authority.make_root(trust_domain, root_key, serial=new_serial(), now=now)
    cas = {kind: _issuing_ca(kind, root, root_key, signer, now, replica) for kind in CaKind}
    documents = document_key(signer, f"documents-{replica}", algorithms)
    witness = raw_public(signer, "witness-1", ED25519)
    made = Authorities(
        trust_domain=trust_domain,
        root=root,
        node_ca=cas[CaKind.NODE],
        control_plane_ca=cas[CaKind.CONTROL_PLANE],
        workload_ca=cas[CaKind.WORKLOAD],
        document_key=documents,
        document_key_name=f"documents-{replica}",
        witness_key=witness,
        witness_key_name="witness-1",
        delegation=_delegation(trust_domain, documents, algorithms, signer, now),
        signer=signer,
    )
    authorities.save(directory, made)
    return made


def _issuing_ca(
    kind: CaKind,
    root: bytes,
    root_key: ec.EllipticCurvePrivateKey,
    signer: FileSigner,
    now: int,
    replica: str,
) -> issue.IssuingCa:
    name = f"{kind.value}-ca-{replica}"
    public = signer.create(name, "p256")
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise RuntimeError("the signer made another kind of key")
    return issue.IssuingCa(
        authority.make_issuing_ca(kind, root, root_key, public, serial=new_serial(), now=now), name
    )


def document_key(signer: FileSigner, name: str, algorithms: tuple[str, ...]) -> bytes:
    """The public half of a document key, each part made if it is not there."""
    return b"".join(raw_public(signer, authorities.document_key_name(name, one), one) for one in algorithms)


def raw_public(signer: FileSigner, name: str, algorithm: str) -> bytes:
    """The public half of a key of one algorithm, made if it is not there."""
    public = signer.public_key(name) if signer.has(name) else signer.create(name, algorithm)
    if isinstance(public, ec.EllipticCurvePublicKey) or len(keys.raw(public)) != SIZES[algorithm]:
        raise RuntimeError("the signer made another kind of key")
    return keys.raw(public)


def _delegation(
    trust_domain: str, key: bytes, algorithms: tuple[str, ...], signer: FileSigner, now: int
) -> bytes:
    document = Delegation(
        trust_domain=trust_domain,
        version=1,
        expires=now + DELEGATION_LIFETIME_S,
        threshold=1,
        keys=(key,),
        algorithms=algorithms,
    )
    by_root = ("root", lambda data: signer.sign("root", data))
    return envelope.sign_envelope(TYPE_DELEGATION, payloads.dump_delegation(document), [by_root]).to_json()


def make_operator(made: Authorities, name: str, now: int) -> tuple[Operator, issue.Prepared]:
    """An operator certificate (12 h) with a fresh key, and what was signed."""
    key = keys.generate_p256()
    prepared = issue.prepare_control_plane(
        Profile(lifetime_s=OPERATOR_LIFETIME_S),
        spiffe.operator_id(made.trust_domain, name),
        public_key=key.public_key(),
        issuer=made.control_plane_ca,
        serial=new_serial(),
        now=now,
    )
    leaf = issue.sign(prepared, made.signing(prepared.key_name))
    chain = pem(leaf, made.control_plane_ca.certificate)
    return Operator(certificate=chain, key=keys.dump_private(key, None)), prepared


def pem(*certificates: bytes) -> bytes:
    loaded = map(x509.load_der_x509_certificate, certificates)
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in loaded)


def new_serial() -> int:
    """For a CA or an operator: 127 random bits."""
    return secrets.randbits(127) + 1


assert OPERATOR_LIFETIME_S < CA_LIFETIME_S  # noqa: S101 - a leaf within its CA
