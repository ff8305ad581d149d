"""What a node can still do that was ended or kept apart, and what a key can that was revoked. Invariants 1 and 8."""

import contextlib

import grpc
from attacks import mutants
from attacks.control import Control
from attacks.plane import Plane
from clients import Holder

from certs import envelope, keys
from certs.csr import make_csr
from controlplane.api.gen import (
    evidence_pb2,
    evidence_pb2_grpc,
    identity_pb2,
    identity_pb2_grpc,
    revocation_pb2,
    revocation_pb2_grpc,
    sync_pb2,
    sync_pb2_grpc,
)
from controlplane.rpc.peer import Peers
from controlplane.services.identity import key_owners
from controlplane.services.identity.attestation import Attestation
from controlplane.services.identity.issuance import Issuance
from controlplane.services.push.publish import Publisher
from policies import payloads

DENIED = grpc.StatusCode.PERMISSION_DENIED
HELLO = sync_pb2.SyncRequest(hello=sync_pb2.Hello(ingress_address="127.0.0.1:7443"))


def _revoke_key(plane: Plane, key) -> None:
    selector = revocation_pb2.NodeSelector(key=keys.spki_sha256(key.public_key()).hex())
    plane.mesh.client.revocation.Revoke(revocation_pb2.RevokeRequest(selector=selector), timeout=10)


def _quarantined(plane: Plane) -> tuple[str, Holder]:
    name, holder = plane.enrolled()
    request = revocation_pb2.QuarantineRequest(node=name, site="paris")
    plane.mesh.client.revocation.Quarantine(request, timeout=10)
    return name, holder


def under_another_name(plane: Plane) -> bool:
    _, holder = plane.enrolled()
    _revoke_key(plane, holder.key)
    return plane.enrols(plane.token(plane.name()), holder.key) is not None


def before_anybody_held_it(plane: Plane) -> bool:
    key = keys.generate_p256()
    _revoke_key(plane, key)
    return plane.enrols(plane.token(plane.name()), key) is not None


def by_renewing_into_it(plane: Plane) -> bool:
    _, holder = plane.enrolled()
    bad = keys.generate_p256()
    _revoke_key(plane, bad)
    return not isinstance(holder.renew(plane.mesh, bad, "k" * 20), grpc.StatusCode)


def by_asking_again(plane: Plane) -> bool:
    """The answer to a renewal is asked for again, after the key that it certifies was revoked."""
    _, holder = plane.enrolled()
    bad = keys.generate_p256()
    assert holder.renew(plane.mesh, bad, "k" * 20).chain
    _revoke_key(plane, bad)
    return not isinstance(holder.renew(plane.mesh, bad, "k" * 20), grpc.StatusCode)


def its_holder(plane: Plane) -> bool:
    """The node that was given a certificate for it is not revoked."""
    name, holder = plane.enrolled()
    _revoke_key(plane, holder.key)
    return plane.state(name) != "revoked"


def gets_workload_identities(plane: Plane) -> bool:
    _, holder = _quarantined(plane)
    with holder.channel(plane.mesh) as channel:
        stub = identity_pb2_grpc.IdentityStub(channel)
        csr = make_csr(keys.generate_p256())
        try:
            stub.IssueWorkload(identity_pb2.IssueWorkloadRequest(workload="web", csr=csr), timeout=10)
        except grpc.RpcError as exc:
            return exc.code() is not DENIED
    return True


def ends_it_by_renewing(plane: Plane) -> bool:
    name, holder = _quarantined(plane)
    assert not isinstance(holder.renew(plane.mesh, keys.generate_p256(), "q" * 20), grpc.StatusCode)
    return plane.state(name) != "quarantined"


def ends_it_by_enrolling(plane: Plane) -> bool:
    name, _ = plane.enrolled()
    text = plane.token(name)
    request = revocation_pb2.QuarantineRequest(node=name, site="paris")
    plane.mesh.client.revocation.Quarantine(request, timeout=10)
    return plane.enrols(text) is not None


def is_accepted_by_peers(plane: Plane) -> bool:
    """What every agent is told of a quarantined node, those included that do not know the word."""
    name, _ = _quarantined(plane)
    _, peer = plane.enrolled()
    with peer.channel(plane.mesh) as channel:
        said = next(sync_pb2_grpc.SyncStub(channel).Connect(iter([HELLO]), timeout=10))
    floors = payloads.load_trust(envelope.parse(said.trust_document, 1 << 20).payload).floors
    return floors.get(str(plane.mesh.find(f"{name}.paris").spiffe_id), 1) is not None


def gets_policy(plane: Plane) -> bool:
    """It is told who is dead, itself among them, and nothing that it could act on."""
    _, holder = _quarantined(plane)
    plane.mesh.policy('@id("p") permit (principal, action, resource);')
    with holder.channel(plane.mesh) as channel:
        stream = sync_pb2_grpc.SyncStub(channel).Connect(iter([HELLO]), timeout=3)
        try:
            return any(said.tickets or said.blobs for said in stream)
        except grpc.RpcError:
            return False


def a_node_keeps_others_apart(plane: Plane) -> bool:
    """A node uses what operators end nodes with."""
    victim, _ = plane.enrolled()
    _, holder = plane.enrolled()
    with holder.channel(plane.mesh) as channel:
        stub = revocation_pb2_grpc.RevocationStub(channel)
        for call, request in (
            (stub.Revoke, revocation_pb2.RevokeRequest(selector={"nodes": [f"{victim}.paris"]})),
            (stub.Quarantine, revocation_pb2.QuarantineRequest(node=victim, site="paris")),
        ):
            with contextlib.suppress(grpc.RpcError):
                call(request, timeout=10)
    return plane.state(victim) != "enrolled"


def evidence_of_the_revoked(plane: Plane) -> bool:
    """Kept apart, a node is heard; revoked, it is not."""
    name, holder = plane.enrolled()
    plane.mesh.revoke(f"{name}.paris")
    with holder.channel(plane.mesh) as channel:
        try:
            evidence_pb2_grpc.EvidenceStub(channel).Cosign(evidence_pb2.CosignRequest(), timeout=10)
        except grpc.RpcError as exc:
            return exc.code() is not DENIED or "revoked" not in (exc.details() or "")
    return True


CONTROLS = (
    Control(
        8,
        "revoked keys: certified for nobody",
        [
            ("under another name", under_another_name),
            ("before anybody held it", before_anybody_held_it),
            ("by renewing into it", by_renewing_into_it),
            ("by asking again for what was lost", by_asking_again),
        ],
        mutants.both(
            mutants.code(key_owners, "check", "if revoked is not None:", "if False:"),
            mutants.code(Issuance, "_store_prepared", "revoked: 0, ", ""),
        ),
    ),
    Control(
        8,
        "quarantine: ended by operators alone",
        [("by renewing", ends_it_by_renewing), ("by enrolling", ends_it_by_enrolling)],
        mutants.both(
            mutants.code(Issuance, "_store_prepared", "wanted.becomes.state == model.QUARANTINED", "False"),
            mutants.code(Attestation, "node", "if row.state in model.SHUT_OUT:", "if False:"),
        ),
    ),
    Control(
        2,
        "quarantine: no floor is low enough",
        [("its certificate, shown to a peer", is_accepted_by_peers)],
        mutants.code(Publisher, "_take_floors", "in model.SHUT_OUT", "in model.ENDED"),
    ),
    Control(
        8,
        "evidence: not of the revoked",
        [("a revoked node asks for a cosignature", evidence_of_the_revoked)],
        mutants.code(Peers, "_node", "row.row.state not in states or", ""),
    ),
)
