"""How a node gets its first certificate, the next one, and one after it slept too long.

1. Evidence is judged before anything is read of the node, and counts once more in the commit: what is good once was not used,
   the node is what it was.
2. What the control plane knows of a node goes into the certificate; of the request only the public key is taken.
3. Refused evidence is counted by address, and bounded. Refusals of join tokens have one text for all reasons.
4. Where a node must prove itself again, its renewal waits for evidence, also within the grace: an end is no way around.
"""

import dataclasses
import hmac
import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from certs.csr import public_key_from_csr
from certs.errors import CertError
from certs.keys import ECDSA_SHA256, spki_sha256
from certs.verify import NodeIdentity, verify_expired_node
from controlplane import model
from controlplane.attest.base import JOIN_TOKEN, Attested, Evidence
from controlplane.attest.challenges import Challenges
from controlplane.attest.token import REFUSED
from controlplane.errors import (
    BusyError,
    ConflictError,
    DeniedError,
    InvalidError,
    NotAttestedError,
    ReattestError,
)
from controlplane.model import KeyRow, NodeRow, TokenRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.identity import key_owners
from controlplane.services.identity.attestation import Attestation
from controlplane.services.identity.issuance import CloneError, Issuance, Issued, Wanted
from controlplane.services.identity.key_owners import KeyTakenError
from controlplane.services.identity.nodes import Nodes
from controlplane.services.rows import Stored
from controlplane.store.base import Store

log = structlog.get_logger()
IDEMPOTENCY = re.compile(r"[A-Za-z0-9_-]{16,64}")
RENEW_CONTEXT = b"writ-renew\n"
MAX_REFUSED_PER_MINUTE = 60  # from one source
MAX_SOURCES = 10_000
RETRIES = 5


@dataclass(frozen=True, slots=True)
class _Renewal:
    """What a node asks for, and what it proved with it."""

    caller: NodeIdentity
    public_key: ec.EllipticCurvePublicKey
    idempotency_key: str
    attested: Attested | None


class Enrolment:
    """First certificates, renewals, and renewals after expiry."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        issuance: Issuance,
        nodes: Nodes,
        attestation: Attestation,
        challenges: Challenges,
        *,
        grace_s: int,
        clock: Callable[[], int],
        node_cas: Callable[[], Sequence[bytes]],
        known: Callable[[str, str], Stored[NodeRow] | None] = lambda _node, _site: None,
    ) -> None:
        """`known`: a node's row as it was a moment ago, if that is at hand. It saves a read, and decides nothing alone."""
        self._store, self._made, self._issuance, self._nodes = store, made, issuance, nodes
        self._node_cas, self._known = node_cas, known
        self._grace_s, self._clock = grace_s, clock
        self._attestation, self._challenges = attestation, challenges
        self._refused: OrderedDict[str, tuple[int, int]] = OrderedDict()

    async def enrol(self, evidence: Evidence, idempotency_key: str, source: str) -> Issued:
        """Exchange evidence for the certificate of the node that it proves."""
        self._check_rate(source)
        _check_idempotency(idempotency_key)
        public_key = _public_key(evidence.csr)
        try:
            attested = await self._attestation.attest(evidence)
            for _ in range(RETRIES):
                try:
                    return await self._enrol_once(attested, public_key, idempotency_key)
                except ConflictError:
                    continue  # somebody was faster: read again; a token that is used by now is refused
            raise BusyError("too many enrolments of one node at once")
        except DeniedError as exc:
            self._count_refused(source)
            self._attestation.refused[evidence.kind] += 1
            if evidence.kind != JOIN_TOKEN or isinstance(exc, KeyTakenError):
                raise  # the key is its holder's to know of: he has signed with it
            raise NotAttestedError(
                REFUSED, hint="tokens are good once and for ten minutes: writ token create NODE"
            ) from exc

    async def _enrol_once(
        self, attested: Attested, public_key: ec.EllipticCurvePublicKey, idempotency_key: str
    ) -> Issued:
        node = await self._attestation.node(attested)
        key = await key_owners.check(self._store, public_key, node.row.short)
        spki = spki_sha256(public_key).hex()
        use = await self._use(attested)
        if use.row.used_by and not hmac.compare_digest(
            use.row.used_by + use.row.spki, idempotency_key + spki
        ):
            raise self._used_twice(node.row)
        if node.row.state == model.ENROLLED:
            repeated = await self._issuance.repeat(node, idempotency_key, public_key, self._clock())
            if repeated is not None:
                return repeated
        if use.row.used_by:
            raise self._used_twice(node.row)
        becomes = self._attestation.enrolled(node.row, attested)
        used = dataclasses.replace(use.row, used_by=idempotency_key, spki=spki)
        spent = {use.key: model.dump(used)} if use.key else {}
        issued = await self._issuance.grant(
            Wanted(
                node=node,
                becomes=becomes,
                public_key=public_key,
                idempotency_key=idempotency_key,
                key=key,
                expect=tuple((name, use.revision) for name in spent),
                put=(*spent.items(), *self._nodes.floor_writes(becomes)),
            ),
            self._clock(),
        )
        await self._nodes.mesh_changed()
        return issued

    def _used_twice(self, node: NodeRow) -> NotAttestedError:
        """An alarm: two have this token, and whoever came first may be the one who should not."""
        log.error("token_used_twice", node=node.short)
        return NotAttestedError("this token was used")

    async def _use(self, attested: Attested) -> Stored[TokenRow]:
        """What is known of the use of this evidence; without a key when it is good once by itself."""
        fresh = TokenRow(node=attested.node, site=attested.site, expires_at=attested.until)
        if not attested.once:
            return Stored("", fresh, 0)
        key = rows.token_key(attested.once)
        return await rows.find(self._store, TokenRow, key) or Stored(key, fresh, 0)

    async def renew(
        self, caller: NodeIdentity, csr: bytes, idempotency_key: str, evidence: Evidence | None = None
    ) -> Issued:
        """The next certificate of a node that has one. Its name is that of its certificate, whatever it sends."""
        _check_idempotency(idempotency_key)
        public_key = _public_key(csr)
        attested = None
        if evidence is not None:
            attested = await self._attestation.attest_again(evidence, caller.spiffe_id)
        asked = _Renewal(caller, public_key, idempotency_key, attested)
        issued = await self._renew_hopefully(asked)
        if issued is not None:
            return issued
        for _ in range(RETRIES):
            try:
                return await self._renew_once(asked)
            except ConflictError:
                continue
            except CloneError as exc:
                await self._lock(caller, str(exc))
                raise
        raise BusyError("the node is being changed; try again")

    async def _lock(self, caller: NodeIdentity, reason: str) -> None:
        """Nobody is this node until an operator looks. The line in the log is an alarm; so are status, check and metrics."""
        log.error("clone_seen", node=caller.spiffe_id.short, serial=f"{caller.serial:x}", reason=reason)
        await self._nodes.lock(caller.spiffe_id.node, caller.spiffe_id.site, reason)

    async def _renew_hopefully(self, asked: _Renewal) -> Issued | None:
        """Without reading first: the commit compares the node's row, and that nobody has renewed or asked before.

        None when any of it is not so: then it is read and decided in full.
        """
        node = self._known(asked.caller.spiffe_id.node, asked.caller.spiffe_id.site)
        if node is None or not _may_renew(node.row, asked.caller) or self._lacks_evidence(node.row, asked):
            return None
        try:
            return await self._grant_renewal(node, asked)
        except ConflictError:
            return None

    async def _renew_once(self, asked: _Renewal) -> Issued:
        caller = asked.caller
        node = await rows.read_node(self._store, caller.spiffe_id.node, caller.spiffe_id.site)
        if not _may_renew(node.row, caller):
            raise DeniedError(f"node `{node.row.short}` may not renew: it is {node.row.state}")
        key = await key_owners.check(self._store, asked.public_key, node.row.short)
        # Before the idempotency key: a copy may have read that from the same disk as the private key.
        await self._issuance.check_only_follower(f"{caller.serial:x}", asked.public_key)
        repeated = await self._issuance.repeat(node, asked.idempotency_key, asked.public_key, self._clock())
        if repeated is not None:
            return repeated
        if self._lacks_evidence(node.row, asked):
            raise ReattestError(
                f"node `{node.row.short}` must prove itself again, by `{node.row.attested_by}`",
                hint="its agent does so where [attest] is configured",
            )
        return await self._grant_renewal(node, asked, key)

    def _lacks_evidence(self, row: NodeRow, asked: _Renewal) -> bool:
        return asked.attested is None and self._attestation.due(row)

    async def _grant_renewal(
        self, node: Stored[NodeRow], asked: _Renewal, key: Stored[KeyRow] | None = None
    ) -> Issued:
        becomes = node.row if asked.attested is None else self._attestation.renewed(node.row, asked.attested)
        changes = becomes is not node.row and becomes.attributes != node.row.attributes
        wanted = Wanted(
            node=node,
            becomes=becomes,
            public_key=asked.public_key,
            idempotency_key=asked.idempotency_key,
            predecessor=f"{asked.caller.serial:x}",
            key=key,
            put=self._nodes.floor_writes(becomes) if changes else (),
        )
        issued = await self._issuance.grant(wanted, self._clock())
        if changes:
            await self._nodes.mesh_changed()
        return issued

    def challenge(self, leaf: bytes, source: str) -> bytes:
        """A nonce for the holder of a certificate: an expired one of ours, or a machine's."""
        return self._challenges.ask(leaf, source)

    async def renew_expired(
        self,
        leaf: bytes,
        csr: bytes,
        nonce: bytes,
        signature: bytes,
        idempotency_key: str,
        evidence: Evidence | None = None,
    ) -> Issued:
        """Renew with a certificate that has ended, no longer than the grace period ago, and its key."""
        if not self._challenges.redeem(nonce, leaf):
            raise DeniedError("the challenge is unknown or too old")
        try:
            caller = verify_expired_node(
                leaf, self._node_cas(), self._made.trust_domain, self._clock(), grace_s=self._grace_s
            )
            caller.public_key.verify(signature, RENEW_CONTEXT + nonce + csr, ECDSA_SHA256)
        except (CertError, InvalidSignature) as exc:
            raise DeniedError(
                "the expired certificate does not prove who asks", hint="enrol with a new token"
            ) from exc
        return await self.renew(caller, csr, idempotency_key, evidence)

    def _check_rate(self, source: str) -> None:
        minute, count = self._refused.get(source, (0, 0))
        if minute == self._clock() // 60 and count >= MAX_REFUSED_PER_MINUTE:
            raise BusyError("too many refused enrolments from one address")

    def _count_refused(self, source: str) -> None:
        minute, count = self._refused.pop(source, (0, 0))
        now = self._clock() // 60
        self._refused[source] = (now, count + 1 if minute == now else 1)
        if len(self._refused) > MAX_SOURCES:
            self._refused.popitem(last=False)


def _may_renew(row: NodeRow, caller: NodeIdentity) -> bool:
    heard = row.state in model.HEARD and caller.epoch >= row.renew_floor
    return heard and row.spiffe_id == caller.spiffe_id


def _check_idempotency(key: str) -> None:
    if not IDEMPOTENCY.fullmatch(key):
        raise InvalidError("idempotency key must be 16 to 64 of A-Z a-z 0-9 _ -")


def _public_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return public_key_from_csr(csr)
    except CertError as exc:
        raise InvalidError(str(exc)) from exc
