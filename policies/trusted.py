"""What an agent believes: signed bytes go in, verified documents come out, or DocumentError and nothing has changed.

Follows the detailed workflow of The Update Framework (specification 5), with three roles of our own:
1. `now` is read once by the caller, so that all checks of one update share one instant.
2. A document is verified before it is read: enough delegated keys, of its own payload type.
3. It is for our trust domain, a ticket also for our node.
4. Never older than the last accepted one (rollback); an equal one is accepted and changes nothing.
5. Nothing expired is accepted (freeze): delegations, and heartbeats past their lease.
6. A heartbeat counts only with the trust document that it names, a ticket only with the blobs it names (mix-and-match).
Left to the caller: fetching, keeping bytes on disk, and how long ago a heartbeat came by a clock that does not jump.
Calling out of order is a RuntimeError: a bug, not an attack.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from certs import envelope
from certs.errors import ChainError, EnvelopeError
from certs.keys import is_p256
from certs.profile import CaKind
from certs.verify import check_issuing_ca, load
from policies import codec, payloads
from policies import documents as d
from policies.errors import (
    AudienceError,
    ContentError,
    DocumentError,
    ExpiredError,
    FeatureError,
    MixError,
    RollbackError,
    SignatureError,
)

FEATURES = frozenset({"rules-v1"})
"""What this code can enforce. A ticket that needs more is refused, never guessed."""
MAX_LEASE_S = 86400
MAX_AHEAD_S = 300  # how far another clock may be ahead before its word is refused
T = TypeVar("T", d.TrustDocument, d.Ticket, d.Heartbeat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Highest:
    """What was accepted, to be kept on disk: a restart must not open the door to a rollback."""

    delegation: int = 0
    generation: int = 0
    trust_digest: str = ""
    heartbeat_at: int = 0
    ticket_generation: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedBundle:
    """A ticket with the blobs it names: what may be enforced for one policy version."""

    ticket: d.Ticket
    rules: d.RulesBlob
    peers: d.PeersBlob


class TrustedDocuments:
    """The documents in force. Mutable by its `update_*` methods only, each all or nothing."""

    def __init__(self, *, root: bytes, trust_domain: str, node: str, highest: Highest | None = None) -> None:
        key = load(root).public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
            raise RuntimeError("the pinned root must hold a P-256 key")
        self.root, self.trust_domain, self.node = root, trust_domain, node
        self.highest = highest or Highest()
        self.delegation: d.Delegation | None = None
        self.trust: d.TrustDocument | None = None
        self.heartbeat: d.Heartbeat | None = None
        self._root_key = key

    def update_delegation(self, data: bytes, now: int) -> d.Delegation:
        """Accept which keys sign documents: the root's word."""
        parsed = _parse(data, d.TYPE_DELEGATION)
        try:
            payload = envelope.verify_p256(parsed, d.TYPE_DELEGATION, self._root_key)
        except EnvelopeError as exc:
            raise SignatureError(f"delegation: {exc}") from exc
        offered = payloads.load_delegation(payload)
        self._check_domain(offered.trust_domain)
        if offered.version < self.highest.delegation:
            raise RollbackError("delegation", offered=offered.version, trusted=self.highest.delegation)
        if now >= offered.expires:
            raise ExpiredError(f"delegation expired at `{offered.expires}`")
        if not 1 <= offered.threshold <= len(set(offered.keys)) or any(
            len(key) != 32 for key in offered.keys
        ):
            raise ContentError("delegation needs as many distinct Ed25519 keys as its threshold")
        self.delegation = offered
        self.highest = replace(self.highest, delegation=offered.version)
        return offered

    def update_trust(self, data: bytes, now: int) -> d.TrustDocument:
        """Accept a trust document: not older, and for one generation only one content."""
        payload, offered = self._open(data, d.TYPE_TRUST, payloads.load_trust, now)
        digest = codec.digest(payload)
        if offered.generation < self.highest.generation:
            raise RollbackError("trust document", offered=offered.generation, trusted=self.highest.generation)
        if offered.generation == self.highest.generation and digest != self.highest.trust_digest:
            raise MixError("trust document", wanted=self.highest.trust_digest)
        if offered.policy_min > offered.policy_now:
            raise ContentError("policy_min is above policy_now")
        if self.root not in offered.roots:
            raise ContentError("the trust document does not hold the pinned root")
        self._check_cas(offered, now)
        self.trust = offered
        self.highest = replace(self.highest, generation=offered.generation, trust_digest=digest)
        return offered

    def update_heartbeat(self, data: bytes, now: int) -> d.Heartbeat:
        """Accept a heartbeat, if its trust document is the one in hand; MixError names the one that is missing."""
        _, offered = self._open(data, d.TYPE_HEARTBEAT, payloads.load_heartbeat, now)
        if self.trust is None:
            raise RuntimeError("a trust document must be accepted before a heartbeat")
        if offered.generation < self.highest.generation or offered.at < self.highest.heartbeat_at:
            raise RollbackError("heartbeat", offered=offered.at, trusted=self.highest.heartbeat_at)
        if offered.at > now + MAX_AHEAD_S:
            raise ContentError(f"heartbeat is `{offered.at - now}` s ahead of our clock")
        if not 0 < offered.until - offered.at <= MAX_LEASE_S:
            raise ContentError("heartbeat's lease is out of bounds")
        if now >= offered.until:
            raise ExpiredError(f"heartbeat's lease ended at `{offered.until}`")
        if offered.trust != self.highest.trust_digest:
            raise MixError("trust document", wanted=offered.trust)
        self.heartbeat = offered
        self.highest = replace(self.highest, heartbeat_at=offered.at)
        return offered

    def update_ticket(self, data: bytes, blobs: Mapping[str, bytes], now: int) -> TrustedBundle:
        """Accept a ticket with the blobs it names, for this node and no other."""
        _, offered = self._open(data, d.TYPE_TICKET, payloads.load_ticket, now)
        if offered.node != self.node:
            raise AudienceError(f"ticket is for `{offered.node}`")
        if offered.generation < self.highest.ticket_generation:
            raise RollbackError("ticket", offered=offered.generation, trusted=self.highest.ticket_generation)
        if unknown := set(offered.features) - FEATURES:
            raise FeatureError(f"ticket needs `{min(unknown)}`, which this agent does not know")
        rules = codec.load_rules(_blob(blobs, offered.rules))
        peers = codec.load_peers(_blob(blobs, offered.peers))
        self.highest = replace(self.highest, ticket_generation=offered.generation)
        return TrustedBundle(ticket=offered, rules=rules, peers=peers)

    def restore_tickets(
        self, tickets: Sequence[bytes], blobs: Mapping[str, bytes], now: int
    ) -> list[TrustedBundle]:
        """Accept tickets that were accepted before this process began: their order is not known, the highest is."""
        highest = self.highest
        accepted = []
        for data in tickets:
            self.highest = replace(highest, ticket_generation=0)
            try:
                accepted.append(self.update_ticket(data, blobs, now))
            finally:
                self.highest = highest
        return accepted

    def _open(self, data: bytes, kind: str, read: Callable[[bytes], T], now: int) -> tuple[bytes, T]:
        """Payload and document, once enough delegated keys have signed it for our trust domain."""
        if self.delegation is None:
            raise RuntimeError("a delegation must be accepted before any other document")
        if now >= self.delegation.expires:
            raise ExpiredError("the delegation of document keys has expired")
        keys = {envelope.key_id(key): key for key in self.delegation.keys}
        try:
            payload = envelope.verify_ed25519(_parse(data, kind), kind, keys, self.delegation.threshold)
        except EnvelopeError as exc:
            raise SignatureError(f"{kind}: {exc}") from exc
        document = read(payload)
        self._check_domain(document.trust_domain)
        return payload, document

    def _check_domain(self, trust_domain: str) -> None:
        if trust_domain != self.trust_domain:
            raise AudienceError(f"document is for the trust domain `{trust_domain}`")

    def _check_cas(self, offered: d.TrustDocument, now: int) -> None:
        for kind, cas in ((CaKind.NODE, offered.node_cas), (CaKind.CONTROL_PLANE, offered.control_plane_cas)):
            for ca in cas:
                try:
                    check_issuing_ca(ca, self.root, kind, now)
                except ChainError as exc:
                    raise ContentError(
                        f"trust document names a CA that the root did not sign for it: {exc}"
                    ) from exc


def _parse(data: bytes, kind: str) -> envelope.Envelope:
    try:
        return envelope.parse(data, payloads.MAX_DOCUMENT_BYTES[kind])
    except EnvelopeError as exc:
        raise SignatureError(f"{kind}: {exc}") from exc


def _blob(blobs: Mapping[str, bytes], wanted: str) -> bytes:
    data = blobs.get(wanted)
    if data is None or codec.digest(data) != wanted:
        raise MixError("blob", wanted=wanted)
    return data


__all__ = ["FEATURES", "DocumentError", "Highest", "TrustedBundle", "TrustedDocuments"]
