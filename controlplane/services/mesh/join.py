"""The ceremony by which a control plane joins others: it makes its own keys, the holder of the root signs them.

`request` on the new machine, `admit` where the root key is, `install` on the new machine again. Private keys do not
travel, but for the witness's, which comes out of the sealed store. Nothing here changes the store: that is done at the
first start (`replicas.register`), or by `remove`.
"""

import contextlib
import json
from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from certs import authority, document_keys, keys, spiffe
from certs.csr import make_csr, public_key_from_csr
from certs.document_keys import ED25519
from certs.errors import CertError
from certs.issue import IssuingCa
from certs.profile import CaKind
from controlplane import model
from controlplane.authority_rows import (
    CaRow,
    DelegationRow,
    JwtKeyRow,
    ReplicaRow,
    RootChangeRow,
    WitnessKeyRow,
)
from controlplane.errors import ConflictError, CorruptError, ExistsError, InvalidError, PreconditionError
from controlplane.services import rows
from controlplane.services.authority import authorities, revoked_cas, root_files
from controlplane.services.authority import standing as standings
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import delegating, setup
from controlplane.services.mesh.replicas import read_delegation
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store

PROOF = b"writ-join\n"
WITNESS = "witness-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the new replica asks the root to sign. Requests prove possession; names in them mean nothing."""

    trust_domain: str
    replica: str
    node_ca: str  # PKCS#10, hex
    control_plane_ca: str
    workload_ca: str
    document_key: str  # hex
    proof: str  # by each part of the document key, over all of the above
    root: str  # hex DER, as the store has it
    delegation: str  # the newest one, which the answer supersedes

    def proven(self) -> bytes:
        return PROOF + model.dump(replace(self, proof=""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The root's answer. Public."""

    replica: str
    root: str
    node_ca: str  # certificate, hex DER
    control_plane_ca: str
    workload_ca: str
    delegation: str
    changes: str = "[]"  # how the root was changed since the mesh was made, as `root_files` has it


async def request(store: Store, signer: FileSigner, trust_domain: str, replica: str) -> Request:
    """Make the keys, unless an earlier try has, and ask. A try that never took its place may be repeated."""
    if signer.has("root"):
        raise ExistsError("the directory holds a mesh", hint="give state_dir another directory")
    known = await rows.every(store, ReplicaRow, "replica/")
    if not known:
        raise PreconditionError(
            "there is no replica to join", hint="start the first one: writ controlplane run"
        )
    if any(stored.row.name == replica for stored in known):
        raise ExistsError(f"there is a replica `{replica}`", hint="set replica.name")
    newest = await rows.read(store, DelegationRow, rows.DELEGATION, "delegation")
    await _adopt_witness(store, signer)
    names = _names(replica)
    *cas, documents = names
    for name in cas:
        if not signer.has(name):
            signer.create(name, "p256")
    node_ca, control_plane_ca, workload_ca = cas
    changes = [one.row for one in await rows.every(store, RootChangeRow, rows.ROOT_CHANGES)]
    stands = standings.of(bytes.fromhex(known[0].row.root), trust_domain, changes)
    algorithms = read_delegation(newest.row.envelope.encode(), *stands.roots).algorithms
    asked = Request(
        trust_domain=trust_domain,
        replica=replica,
        node_ca=make_csr(signer.ceremony_key(node_ca)).hex(),
        control_plane_ca=make_csr(signer.ceremony_key(control_plane_ca)).hex(),
        workload_ca=make_csr(signer.ceremony_key(workload_ca)).hex(),
        document_key=setup.document_key(signer, documents, algorithms).hex(),
        proof="",
        root=known[0].row.root,
        delegation=newest.row.envelope,
    )
    proofs = (
        signer.sign(authorities.document_key_name(documents, one), asked.proven()).hex() for one in algorithms
    )
    return replace(asked, proof=" ".join(proofs))


def admit(asked: Request, directory: Path, signer: FileSigner, now: int) -> Grant:
    """Sign what a new replica asks for. `directory` and `signer` are where the root is."""
    made = authorities.load(directory, signer)
    if (bytes.fromhex(asked.root), asked.trust_domain) != (made.root, made.trust_domain):
        raise InvalidError("the request is for a mesh with another root")
    document_key = bytes.fromhex(asked.document_key)
    try:
        spiffe.control_plane_id(asked.trust_domain, asked.replica)
        wanted = {kind: public_key_from_csr(bytes.fromhex(csr)) for kind, csr in _requested(asked)}
        proofs = map(bytes.fromhex, asked.proof.split())
        proven = zip(document_keys.parts(document_key), proofs, strict=True)
        if not document_keys.signed_by(document_key, document_keys.holding(proven, asked.proven())):
            raise InvalidError("the request is not signed by its document key")
    except (CertError, ValueError) as exc:
        raise InvalidError("the request does not prove that its keys exist") from exc
    root_key = signer.ceremony_key(made.now.key_name)
    base = read_delegation(asked.delegation.encode(), *made.roots)
    if document_keys.algorithms(document_key) != base.algorithms:
        raise InvalidError(f"documents of this mesh are signed by {' and '.join(base.algorithms)}")
    cas = {kind: _ca(kind, made.now.signing, root_key, public, now).hex() for kind, public in wanted.items()}
    return Grant(
        replica=asked.replica,
        root=made.root.hex(),
        node_ca=cas[CaKind.NODE],
        control_plane_ca=cas[CaKind.CONTROL_PLANE],
        workload_ca=cas[CaKind.WORKLOAD],
        delegation=delegating.next_version(base, {*base.keys, document_key}, made, now).decode(),
        changes=root_files.dumped(made.root_changes),
    )


def install(given: Grant, directory: Path, signer: FileSigner, asked: Request) -> Authorities:
    """Keep what the root answered; InvalidError when it is the answer to something else."""
    if given.replica != asked.replica or given.root != asked.root:
        raise InvalidError("the grant is for another replica or mesh")
    node_ca, control_plane_ca, workload_ca, documents = _names(asked.replica)
    root, changes = bytes.fromhex(given.root), root_files.loaded(given.changes)
    stands = standings.of(root, asked.trust_domain, changes)
    delegated = read_delegation(given.delegation.encode(), *stands.roots)
    if bytes.fromhex(asked.document_key) not in delegated.keys:
        raise InvalidError("the grant does not delegate our document key")
    made = Authorities(
        trust_domain=asked.trust_domain,
        root=root,
        node_ca=IssuingCa(bytes.fromhex(given.node_ca), node_ca),
        control_plane_ca=IssuingCa(bytes.fromhex(given.control_plane_ca), control_plane_ca),
        workload_ca=IssuingCa(bytes.fromhex(given.workload_ca), workload_ca),
        document_key=bytes.fromhex(asked.document_key),
        document_key_name=documents,
        witness_key=setup.raw_public(signer, WITNESS, ED25519),
        witness_key_name=WITNESS,
        delegation=given.delegation.encode(),
        signer=signer,
    )
    made.stand(changes)
    root_files.save(directory, changes)
    authorities.save(directory, made)
    return made


async def remove(store: Store, directory: Path, signer: FileSigner, replica: str, now: int) -> int:
    """Take a replica's CAs, JWT keys and document key out of the mesh at once; how many nodes hold a certificate of its CA."""
    made = authorities.load(directory, signer)
    found = await rows.read(store, ReplicaRow, rows.replica_key(replica), f"replica `{replica}`")
    others = [stored for stored in await rows.every(store, ReplicaRow, "replica/") if stored.key != found.key]
    if not any(stored.row.issues for stored in others):
        raise PreconditionError(
            f"`{replica}` is the only replica that issues", hint="let another one join first"
        )
    newest = await rows.read(store, DelegationRow, rows.DELEGATION, "delegation")
    base = read_delegation(newest.row.envelope.encode(), *made.roots)
    left = set(base.keys) - {bytes.fromhex(found.row.document_key)}
    row = DelegationRow(
        version=base.version + 1, envelope=delegating.next_version(base, left, made, now).decode()
    )
    jwt_keys = await rows.every(store, JwtKeyRow, rows.JWT_AUTHORITIES)
    cas = await rows.every(store, CaRow, rows.CA_AUTHORITIES)
    gone = [stored for stored in cas if stored.row.replica == replica]
    noted: dict[str, bytes] = {}
    for stored in gone:
        noted |= revoked_cas.noted(stored.row, now, revoked_cas.REMOVED)
    await store.commit(
        expect={found.key: found.revision, newest.key: newest.revision},
        put={newest.key: model.dump(row), rows.MESH: b"{}", **noted},
        delete=[
            found.key,
            *(stored.key for stored in gone),
            *(stored.key for stored in jwt_keys if stored.row.replica == replica),
        ],
    )
    # Where the root is: an older one, with the key that was removed, is renewed no more (`root_again`).
    authorities.save(directory, replace(made, delegation=row.envelope.encode()))
    with contextlib.suppress(ConflictError):  # the replica that holds the root was faster
        await revoked_cas.make_if_due(store, made, now)
    return row.version


def load_request(text: str) -> Request:
    return _read(Request, text)


def load_grant(text: str) -> Grant:
    return _read(Grant, text)


def _read(kind: type[rows.R], text: str) -> rows.R:
    try:
        return model.load(kind, json.dumps(json.loads(text)).encode())
    except (ValueError, CorruptError) as exc:
        raise InvalidError(f"this is no {kind.__name__.lower()} of `writ controlplane join`") from exc


def dumped(document: Request | Grant) -> str:
    return json.dumps(json.loads(model.dump(document)), indent=1) + "\n"


async def _adopt_witness(store: Store, signer: FileSigner) -> None:
    if not signer.has(WITNESS):
        shared = await rows.read(store, WitnessKeyRow, rows.WITNESS_KEY, "witness key in the store")
        signer.adopt(WITNESS, keys.load_private(shared.row.private.encode(), None))


def _requested(asked: Request) -> tuple[tuple[CaKind, str], ...]:
    return (
        (CaKind.NODE, asked.node_ca),
        (CaKind.CONTROL_PLANE, asked.control_plane_ca),
        (CaKind.WORKLOAD, asked.workload_ca),
    )


def _names(replica: str) -> tuple[str, str, str, str]:
    """Of the three CAs' keys, and of the document key."""
    return (
        f"node-ca-{replica}",
        f"control-plane-ca-{replica}",
        f"workload-ca-{replica}",
        f"documents-{replica}",
    )


def _ca(
    kind: CaKind,
    root: bytes,
    root_key: ec.EllipticCurvePrivateKey,
    public: ec.EllipticCurvePublicKey,
    now: int,
) -> bytes:
    return authority.make_issuing_ca(kind, root, root_key, public, serial=setup.new_serial(), now=now)
