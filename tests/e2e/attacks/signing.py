"""What the control plane signs, and when: invariants 8, 10, 11 and 12."""

import asyncio
import contextlib

from attacks import mutants
from attacks.control import Control
from attacks.desk import Desk
from cryptography.hazmat.primitives.asymmetric import ec
from pki import TD, Pki

from certs import envelope, keys, verify
from certs.verify import NodeIdentity
from controlplane.attest.challenges import MAX_NONCES, Challenges
from controlplane.errors import BusyError, ConflictError, ControlPlaneError, UnavailableError
from controlplane.rpc import sync_api
from controlplane.rpc.sync_api import SyncServicer
from controlplane.services.evidence import witness
from controlplane.services.evidence.witness import Witness
from controlplane.services.identity import enrolment
from controlplane.services.identity.enrolment import Enrolment
from controlplane.services.identity.issuance import Issuance
from controlplane.services.push.hub import AgentState
from controlplane.services.push.publish import Publisher
from policies import documents as d
from policies import payloads

AWAY = UnavailableError("the store is away")
ENTRIES = [f"entry {n}".encode() for n in range(9)]
PKI = Pki()
SIGN_FIRST = (
    "await self._store_prepared(wanted, prepared)",
    "self._sign(prepared.tbs, ours)\n    await self._store_prepared(wanted, prepared)",
)


def issued_while(fault: BaseException):
    """An enrolment whose commit ends like this. It got through if anything was signed for it."""

    async def attack(desk: Desk) -> bool:
        text = await desk.invited("gpu-1")
        desk.store.on_commit = fault
        with contextlib.suppress(asyncio.CancelledError):
            await desk.enrol(text)
        return desk.made.node_ca.key_name in desk.signer.signed

    return attack


async def by_a_second_replica(desk: Desk) -> bool:
    """Two exchanges of one token run side by side: only what is stored may be signed."""
    text = await desk.invited("gpu-1")
    await asyncio.gather(desk.enrol(text, "a" * 20), desk.enrol(text, "b" * 20))
    return any(name == desk.made.node_ca.key_name for name, _ in desk.signer.unstored)


async def cosigned_while_away(desk: Desk) -> bool:
    desk.store.on_commit = AWAY
    await desk.cosign(desk.log("gpu-1", entries=ENTRIES), 0)
    return desk.made.witness_key_name in desk.signer.signed


async def forks_side_by_side(desk: Desk) -> bool:
    """Two pasts of one log at once: one is stored, and the other must not even be signed."""
    one, other = (desk.log("gpu-1", entries=[*ENTRIES, last]) for last in (b"this", b"that"))
    await asyncio.gather(desk.cosign(one, 0), desk.cosign(other, 0))
    return desk.signer.signed.count(desk.made.witness_key_name) > 1


def extended_by(entries: list[bytes], *, honest_proof: bool = True):
    """A log that was cosigned, and then is another one."""

    async def attack(desk: Desk) -> bool:
        assert await desk.cosign(desk.log("gpu-1", entries=ENTRIES), 0)
        log = desk.log("gpu-1", entries=entries)
        proof = log.proof(len(ENTRIES)) if honest_proof and len(entries) > len(ENTRIES) else []
        return await desk.cosign(log, len(ENTRIES), proof)

    return attack


async def log_of_another(desk: Desk) -> bool:
    return await desk.cosign(desk.log("gpu-1", entries=ENTRIES, of="gpu-2"), 0)


def beat_while(*, revoked: bool):
    """A replica that cannot read the store signs a heartbeat: it would keep a revoked node alive."""

    async def attack(desk: Desk) -> bool:
        await desk.invited("gpu-1")
        await desk.publisher.refresh()
        before = desk.publisher.issue
        if revoked:  # elsewhere: this replica has not heard of it
            await desk.nodes.revoke("gpu-1", "paris", "")
            desk.publisher.issue = before
        desk.store.on_read, desk.now = AWAY, desk.now + 10
        with contextlib.suppress(ControlPlaneError):
            await desk.publisher.beat()
        return desk.publisher.issue is not before

    return attack


async def restarted_without_store(desk: Desk) -> bool:
    desk.store.on_read = AWAY
    with contextlib.suppress(ControlPlaneError):
        await desk.publisher.refresh()
    return desk.publisher.issue is not None


async def guesses(desk: Desk) -> bool:
    """A thousand tokens from one address within a minute: how many are looked at?"""
    found = [await desk.enrol(f"writ1.{n}") for n in range(200)]
    return sum(not isinstance(one, BusyError) for one in found) > enrolment.MAX_REFUSED_PER_MINUTE


async def challenges(desk: Desk) -> bool:
    """Challenges that nobody answers: how many are kept?"""
    kept = 0
    for number in range(MAX_NONCES + 10):
        try:
            desk.enrolment.challenge(str(number).encode(), f"address-{number}")
            kept += 1
        except BusyError:
            pass
    return kept > MAX_NONCES


async def challenges_from_one(desk: Desk) -> bool:
    """One address asks for all there are: what is left for others?"""
    for number in range(MAX_NONCES):
        with contextlib.suppress(BusyError):
            desk.enrolment.challenge(str(number).encode(), "here")
    try:
        desk.enrolment.challenge(b"a machine that slept", "there")
    except BusyError:
        return True
    return False


async def addresses(desk: Desk) -> bool:
    """Guesses from more addresses than anybody should remember."""
    for number in range(enrolment.MAX_SOURCES + 10):
        desk.enrolment._count_refused(str(number))
    return len(desk.enrolment._refused) > enrolment.MAX_SOURCES + 1


# --- statements ------------------------------------------------------------------------------------------------------


def caller(name: str = "gpu-1") -> tuple[NodeIdentity, ec.EllipticCurvePrivateKey]:
    leaf = PKI.node(name)
    return verify.verify_node(leaf.der, [PKI.node_ca], TD, PKI.now), leaf.key


def statement(kind: str, key: ec.EllipticCurvePrivateKey, **fields) -> bytes:
    payload = payloads.dump_statement(TD, **fields)
    return envelope.sign_envelope(kind, payload, [("node", lambda data: keys.sign(key, data))]).to_json()


def receipt(*, of: str, key: ec.EllipticCurvePrivateKey | None = None):
    """A node says of `of` that it enforces a generation, signed by its own key or another."""

    async def attack(_desk: Desk) -> bool:
        me, mine = caller()
        named = f"spiffe://{TD}/fr/paris/{of}"
        said = statement(d.TYPE_RECEIPT, key or mine, node=named, generation=9, at_ms=1)
        state = AgentState(str(me.spiffe_id))
        try:
            SyncServicer._receipt(None, me, state, said)  # type: ignore[arg-type]  # needs nothing of its own
        except ControlPlaneError:
            return False
        return bool(state.receipts)

    return attack


async def evidence_key_of_another(_desk: Desk) -> bool:
    """A key for a node's log that its own certificate does not vouch for."""
    me, _ = caller()
    said = statement(d.TYPE_EVIDENCE_KEY, keys.generate_p256(), vkey="x")
    try:
        sync_api._statement(me, said, d.TYPE_EVIDENCE_KEY, {"vkey": str})
    except ControlPlaneError:
        return False
    return True


CONTROLS = (
    Control(
        10,
        "certificates: stored, then signed",
        [
            ("the store is away at the commit", issued_while(AWAY)),
            ("somebody else was faster, each time", issued_while(ConflictError("faster"))),
            ("the call is cancelled at the commit", issued_while(asyncio.CancelledError())),
            ("two at once", by_a_second_replica),
        ],
        mutants.code(Issuance, "grant", *SIGN_FIRST),
    ),
    Control(
        10,
        "cosignatures: stored, then signed",
        [
            ("the store is away at the commit", cosigned_while_away),
            ("two forks at once", forks_side_by_side),
        ],
        mutants.code(
            Witness,
            "_extend",
            "    await self._store.commit(",
            "    self._line(row)\n    await self._store.commit(",
        ),
    ),
    Control(
        11,
        "witness: what extends the past, and nothing else",
        [
            ("a rewritten past", extended_by([b"x", *ENTRIES[1:], b"more"])),
            ("a shorter log", extended_by(ENTRIES[:4])),
            ("a fork of equal length", extended_by([*ENTRIES[:-1], b"other"])),
            ("a longer fork, without a proof", extended_by([*ENTRIES, b"a", b"b"], honest_proof=False)),
        ],
        mutants.code(
            Witness, "_extend", "merkle.verify_consistency(size, root, head.size, head.root, proof)", "pass"
        ),
    ),
    Control(
        8,
        "witness: the node's own log",
        [("a checkpoint in the name of another", log_of_another)],
        mutants.code(witness, "_open", "if head.origin != name or key.name != name:", "if False:"),
    ),
    Control(
        8,
        "statements: about oneself",
        [("a receipt for another node", receipt(of="gpu-2"))],
        mutants.code(SyncServicer, "_receipt", 'if statement["node"] != str(caller.spiffe_id):', "if False:"),
    ),
    Control(
        8,
        "statements: by the key of the certificate",
        [
            ("a receipt by another key", receipt(of="gpu-1", key=keys.generate_p256())),
            ("an evidence key by another key", evidence_key_of_another),
        ],
        mutants.code(
            sync_api, "_statement", "envelope.verify_p256(parsed, kind, caller.public_key)", "parsed.payload"
        ),
    ),
    Control(
        12,
        "heartbeat: only after reading the store",
        [
            ("a replica without a store", beat_while(revoked=False)),
            ("a replica that has not heard of a revocation", beat_while(revoked=True)),
            ("a replica that starts without a store", restarted_without_store),
        ],
        mutants.code(
            Publisher,
            "_sign_trust",
            "await self._store.get(rows.MESH)",
            "None",
            "generation = mesh.revision if mesh else 0",
            "generation = self.issue.generation if self.issue else 0",
        ),
    ),
    Control(
        12,
        "enrolment: guesses are counted",
        [("two hundred guesses in a minute", guesses)],
        mutants.code(Enrolment, "_check_rate", "if minute ==", "if False and minute =="),
    ),
    Control(
        12,
        "enrolment: challenges are bounded",
        [("challenges that nobody answers", challenges)],
        mutants.code(Challenges, "ask", "len(self._out) >= MAX_NONCES", "False"),
    ),
    Control(
        12,
        "enrolment: challenges of one address are bounded",
        [("one address asks for all there are", challenges_from_one)],
        mutants.code(Challenges, "ask", "self._of[source] >= MAX_OF_ONE", "False"),
    ),
    Control(
        12,
        "enrolment: what is counted is bounded",
        [("guesses from everywhere", addresses)],
        mutants.code(Enrolment, "_count_refused", "if len(self._refused) > MAX_SOURCES:", "if False:"),
    ),
)
