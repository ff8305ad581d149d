"""What a stolen or copied key is good for at the control plane: renewal, grace and open channels. Invariant 8."""

import clients
import grpc
from attacks import mutants
from attacks.control import Attack, Control
from attacks.plane import Plane
from clients import Holder

from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import enrolment_pb2, identity_pb2, identity_pb2_grpc
from controlplane.rpc.peer import Peers
from controlplane.services.identity import enrolment
from controlplane.services.identity.enrolment import Enrolment
from controlplane.services.identity.issuance import Issuance


def renewed(plane: Plane, holder: Holder, idempotency: str = "c" * 20) -> bool:
    reply = holder.renew(plane.mesh, keys.generate_p256(), idempotency)
    return not isinstance(reply, grpc.StatusCode)


def copied(idempotency: str) -> Attack:
    """Two keys renew one certificate: one of them is a copy."""

    def attack(plane: Plane) -> bool:
        name, holder = plane.enrolled()
        assert renewed(plane, holder, "s" * 20)
        return renewed(plane, holder, idempotency) or plane.state(name) != "locked"

    return attack


def after_revocation(plane: Plane) -> bool:
    name, holder = plane.enrolled()
    plane.mesh.revoke(f"{name}.paris")
    return renewed(plane, holder)


def on_an_open_channel(plane: Plane) -> bool:
    name, holder = plane.enrolled()
    wanted = identity_pb2.RenewRequest(csr=make_csr(keys.generate_p256()), idempotency_key="f" * 20)
    with holder.channel(plane.mesh) as channel:
        stub = identity_pb2_grpc.IdentityStub(channel)
        assert stub.Renew(wanted, timeout=10).chain
        plane.mesh.revoke(f"{name}.paris")
        try:
            stub.Renew(wanted, timeout=10)
        except grpc.RpcError:
            return False
    return True


def after_another_enrolment(plane: Plane) -> bool:
    """The name was revoked and enrolled again; the certificate from before is still within its time."""
    name, stolen = plane.enrolled()
    plane.again(name)
    return renewed(plane, stolen)


def late(ago_s: int = 600, **how) -> Attack:
    """Renew with a certificate that has ended, `how` as `clients.renew_expired` takes it."""

    def attack(plane: Plane) -> bool:
        name, holder = plane.enrolled()
        old = clients.ended(plane.mesh, holder, name, ago_s)
        reply = clients.renew_expired(plane.stub, old, **how)
        return not isinstance(reply, grpc.StatusCode)

    return attack


def late_and_revoked(plane: Plane) -> bool:
    name, holder = plane.enrolled()
    old = clients.ended(plane.mesh, holder, name, 600)
    plane.mesh.revoke(f"{name}.paris")
    return not isinstance(clients.renew_expired(plane.stub, old), grpc.StatusCode)


def nonce_of_another(plane: Plane) -> bool:
    name, holder = plane.enrolled()
    old, older = (clients.ended(plane.mesh, holder, name, ago_s) for ago_s in (600, 700))
    nonce = plane.stub.Challenge(enrolment_pb2.ChallengeRequest(leaf=older.chain[0])).nonce
    return not isinstance(clients.renew_expired(plane.stub, old, nonce=nonce), grpc.StatusCode)


def nonce_used_before(plane: Plane) -> bool:
    name, holder = plane.enrolled()
    old = clients.ended(plane.mesh, holder, name, 600)
    nonce = plane.stub.Challenge(enrolment_pb2.ChallengeRequest(leaf=old.chain[0])).nonce
    clients.renew_expired(plane.stub, old, nonce=nonce, key=keys.generate_p256())
    return not isinstance(clients.renew_expired(plane.stub, old, nonce=nonce), grpc.StatusCode)


GOES_ON = "self._publisher.may_go_on(str(identity.spiffe_id), identity.epoch)"
CONTROLS = (
    Control(
        8,
        "renewal: one follower",
        [
            ("two keys of one certificate", copied("c" * 20)),
            ("two keys, and the idempotency key was copied too", copied("s" * 20)),
        ],
        mutants.code(
            Issuance,
            "check_only_follower",
            "if follower is not None and follower.row.spki != spki_sha256(public_key).hex():",
            "if False:",
        ),
    ),
    Control(
        8,
        "renewal: not of the revoked",
        [
            ("after the revocation", after_revocation),
            ("on a channel from before the revocation", on_an_open_channel),
            ("by grace, after the revocation", late_and_revoked),
        ],
        mutants.both(
            mutants.code(Peers, "presented", f"not {GOES_ON}", "False"),
            mutants.code(enrolment, "_may_renew", "row.state in model.HEARD", "True"),
        ),
    ),
    Control(
        8,
        "renewal: not of an epoch before",
        [("a certificate from before its name enrolled again", after_another_enrolment)],
        mutants.both(
            mutants.code(Peers, "presented", f"not {GOES_ON}", "False"),
            mutants.code(enrolment, "_may_renew", "caller.epoch >= row.renew_floor", "True"),
        ),
    ),
    Control(
        8,
        "grace: whoever holds the key",
        [("signed by another key", late(key=keys.generate_p256()))],
        mutants.code(
            Enrolment,
            "renew_expired",
            "caller.public_key.verify(signature, RENEW_CONTEXT + nonce + csr, ECDSA_SHA256)",
            "pass",
        ),
    ),
    Control(
        8,
        "grace: a challenge of its own",
        [
            ("a challenge that nobody gave", late(nonce=b"\x00" * 32)),
            ("the challenge of another", nonce_of_another),
            ("a challenge used before", nonce_used_before),
        ],
        mutants.code(Enrolment, "renew_expired", "if not self._challenges.redeem(nonce, leaf):", "if False:"),
    ),
    Control(
        8,
        "grace: for so long",
        [("a day and an hour late", late(90_000))],
        mutants.code(Enrolment, "renew_expired", "grace_s=self._grace_s", "grace_s=1 << 30"),
    ),
)
