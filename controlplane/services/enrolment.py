"""How a node gets its first certificate, the next one, and one after it slept too long.

Refusals of tokens have one text for all reasons: a guesser learns nothing. What the control plane knows of a node goes
into the certificate; of the request only the public key is taken.
"""

import hashlib
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from certs.csr import public_key_from_csr
from certs.errors import CertError
from certs.keys import ECDSA_SHA256, spki_sha256
from certs.verify import NodeIdentity, verify_expired_node
from controlplane import model
from controlplane.attest import token as tokens
from controlplane.errors import BusyError, ConflictError, DeniedError, InvalidError
from controlplane.model import NodeRow, TokenRow
from controlplane.services import issuance, rows
from controlplane.services.authorities import Authorities
from controlplane.services.issuance import CloneError, Issuance, Issued, Wanted
from controlplane.services.nodes import Nodes
from controlplane.services.rows import Stored
from controlplane.store.base import Store

log = structlog.get_logger()
IDEMPOTENCY = re.compile(r"[A-Za-z0-9_-]{16,64}")
NONCE_S, MAX_NONCES = 60, 10_000
RENEW_CONTEXT = b"writ-renew\n"
REFUSED = "the join token was not accepted"
MAX_REFUSED_PER_MINUTE = 60  # from one source
RETRIES = 5


class Enrolment:
    """First certificates, renewals, and renewals after expiry."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        issuance: Issuance,
        nodes: Nodes,
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
        self._nonces: OrderedDict[bytes, tuple[int, bytes]] = OrderedDict()
        self._refused: OrderedDict[str, tuple[int, int]] = OrderedDict()

    async def enrol(self, text: str, csr: bytes, idempotency_key: str, source: str) -> Issued:
        """Exchange a join token for a certificate: once, for the node it names, before it expires."""
        self._check_rate(source)
        _check_idempotency(idempotency_key)
        public_key = _public_key(csr)
        try:
            for _ in range(RETRIES):
                try:
                    return await self._enrol_once(tokens.parse(text), public_key, idempotency_key)
                except ConflictError:
                    continue  # somebody was faster: read again; a token that is used by now is refused
            raise BusyError("too many enrolments of one node at once")
        except (InvalidError, DeniedError) as exc:
            self._count_refused(source)
            raise DeniedError(
                REFUSED, hint="tokens are good once and for ten minutes: writ token create NODE"
            ) from exc

    async def _enrol_once(
        self, token: tokens.JoinToken, public_key: ec.EllipticCurvePublicKey, idempotency_key: str
    ) -> Issued:
        now = self._clock()
        stored = await rows.find(self._store, TokenRow, rows.token_key(tokens.stored_name(token.secret)))
        if stored is None or (stored.row.node, stored.row.site) != (token.node, token.site):
            raise DeniedError(REFUSED)
        await issuance.check_key(self._store, public_key)
        node = await rows.read_node(self._store, stored.row.node, stored.row.site)
        spki = spki_sha256(public_key).hex()
        if stored.row.used_by:
            same = hmac.compare_digest(stored.row.used_by + stored.row.spki, idempotency_key + spki)
            repeated = await self._issuance.repeat(node, idempotency_key, public_key, now) if same else None
            if repeated is None:
                # An alarm: two have this token, and whoever came first may be the one who should not.
                log.error("token_used_twice", node=node.row.short)
                raise DeniedError(REFUSED)
            return repeated
        if now >= stored.row.expires_at or node.row.state in model.SHUT_OUT:
            raise DeniedError(REFUSED)
        becomes = _next_epoch(node.row, now)
        used = replace(stored.row, used_by=idempotency_key, spki=spki)
        issued = await self._issuance.grant(
            Wanted(
                node=node,
                becomes=becomes,
                public_key=public_key,
                idempotency_key=idempotency_key,
                expect=((stored.key, stored.revision),),
                put=((stored.key, model.dump(used)), *self._nodes.floor_writes(becomes)),
            ),
            now,
        )
        await self._nodes.mesh_changed()
        return issued

    async def renew(self, caller: NodeIdentity, csr: bytes, idempotency_key: str) -> Issued:
        """The next certificate of a node that has one. Its name is that of its certificate, whatever it sends."""
        _check_idempotency(idempotency_key)
        public_key = _public_key(csr)
        issued = await self._renew_hopefully(caller, public_key, idempotency_key)
        if issued is not None:
            return issued
        for _ in range(RETRIES):
            try:
                return await self._renew_once(caller, public_key, idempotency_key)
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

    async def _renew_hopefully(
        self, caller: NodeIdentity, public_key: ec.EllipticCurvePublicKey, idempotency_key: str
    ) -> Issued | None:
        """Without reading first: the commit compares the node's row, and that nobody has renewed or asked before.

        None when any of it is not so: then it is read and decided in full.
        """
        node = self._known(caller.spiffe_id.node, caller.spiffe_id.site)
        if node is None or not _may_renew(node.row, caller):
            return None
        try:
            return await self._grant_renewal(node, caller, public_key, idempotency_key)
        except ConflictError:
            return None

    async def _renew_once(
        self, caller: NodeIdentity, public_key: ec.EllipticCurvePublicKey, idempotency_key: str
    ) -> Issued:
        node = await rows.read_node(self._store, caller.spiffe_id.node, caller.spiffe_id.site)
        if not _may_renew(node.row, caller):
            raise DeniedError(f"node `{node.row.short}` may not renew: it is {node.row.state}")
        await issuance.check_key(self._store, public_key)
        # Before the idempotency key: a copy may have read that from the same disk as the private key.
        await self._issuance.check_only_follower(f"{caller.serial:x}", public_key)
        repeated = await self._issuance.repeat(node, idempotency_key, public_key, self._clock())
        if repeated is not None:
            return repeated
        return await self._grant_renewal(node, caller, public_key, idempotency_key)

    async def _grant_renewal(
        self,
        node: Stored[NodeRow],
        caller: NodeIdentity,
        public_key: ec.EllipticCurvePublicKey,
        idempotency_key: str,
    ) -> Issued:
        wanted = Wanted(
            node=node,
            becomes=node.row,
            public_key=public_key,
            idempotency_key=idempotency_key,
            predecessor=f"{caller.serial:x}",
        )
        return await self._issuance.grant(wanted, self._clock())

    def challenge(self, leaf: bytes) -> bytes:
        """A nonce for the holder of an expired certificate; kept for a minute, bounded."""
        now = self._clock()
        while self._nonces and next(iter(self._nonces.values()))[0] <= now:
            self._nonces.popitem(last=False)
        if len(self._nonces) >= MAX_NONCES:
            raise BusyError("too many renewals at once")
        nonce = secrets.token_bytes(32)
        self._nonces[nonce] = (now + NONCE_S, _digest(leaf))  # a stranger sends it: 32 bytes, not 32 kB
        return nonce

    async def renew_expired(
        self, leaf: bytes, csr: bytes, nonce: bytes, signature: bytes, idempotency_key: str
    ) -> Issued:
        """Renew with a certificate that has ended, no longer than the grace period ago, and its key."""
        now = self._clock()
        until, asked_for = self._nonces.pop(nonce, (0, b""))
        if now >= until or asked_for != _digest(leaf):
            raise DeniedError("the challenge is unknown or too old")
        try:
            caller = verify_expired_node(
                leaf, self._node_cas(), self._made.trust_domain, now, grace_s=self._grace_s
            )
            caller.public_key.verify(signature, RENEW_CONTEXT + nonce + csr, ECDSA_SHA256)
        except (CertError, InvalidSignature) as exc:
            raise DeniedError(
                "the expired certificate does not prove who asks", hint="enrol with a new token"
            ) from exc
        return await self.renew(caller, csr, idempotency_key)

    def _check_rate(self, source: str) -> None:
        minute, count = self._refused.get(source, (0, 0))
        if minute == self._clock() // 60 and count >= MAX_REFUSED_PER_MINUTE:
            raise BusyError("too many refused enrolments from one address")

    def _count_refused(self, source: str) -> None:
        minute, count = self._refused.pop(source, (0, 0))
        now = self._clock() // 60
        self._refused[source] = (now, count + 1 if minute == now else 1)
        if len(self._refused) > MAX_NONCES:
            self._refused.popitem(last=False)


def _may_renew(row: NodeRow, caller: NodeIdentity) -> bool:
    heard = row.state in model.HEARD and caller.epoch >= row.renew_floor
    return heard and row.spiffe_id == caller.spiffe_id


def _next_epoch(node: NodeRow, now: int) -> NodeRow:
    """Enrolling raises epoch and floors: whatever was issued to this name before stays dead."""
    epoch = node.epoch + 1
    raised = replace(node, epoch=epoch, floor=epoch, renew_floor=epoch, reason="")
    return replace(raised, floor_at=now) if node.epoch else raised  # the first one has none before it


def _check_idempotency(key: str) -> None:
    if not IDEMPOTENCY.fullmatch(key):
        raise InvalidError("idempotency key must be 16 to 64 of A-Z a-z 0-9 _ -")


def _digest(leaf: bytes) -> bytes:
    return hashlib.sha256(leaf).digest()


def _public_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return public_key_from_csr(csr)
    except CertError as exc:
        raise InvalidError(str(exc)) from exc
