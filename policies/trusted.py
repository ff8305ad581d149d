"""What an agent believes: signed bytes go in, verified documents come out, or DocumentError and nothing has changed.

Follows the detailed workflow of The Update Framework (specification 5), with three roles of our own:
1. `now` is read once by the caller, so that all checks of one update share one instant.
2. A document is verified before it is read: enough delegated keys, of its own payload type.
3. It is for our trust domain, a ticket also for our node.
4. Never older than the last accepted one (rollback); one version has one content; the same again changes nothing.
   A delegation that drops a key drops these marks: the cure against fast-forward by a stolen key.
   Roots change by `roots` alone: a trust document can only leave out the oldest, once another has delegated the keys.
5. Nothing expired is accepted (freeze): delegations, and heartbeats past their lease.
6. A heartbeat counts only with the trust document that it names, a ticket only with the blobs it names (mix-and-match).
Left to the caller: fetching, keeping bytes on disk, and how long ago a heartbeat came by a clock that does not jump.
Calling out of order is a RuntimeError: a bug, not an attack.
"""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from certs import document_keys, envelope, spiffe
from certs.errors import EnvelopeError, KeyFormatError
from certs.profile import CaKind
from policies import codec, payloads, roots
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
from policies.roots import Roots

FEATURES = frozenset({"rules-v1", d.SHADOW, d.ROOT_CHANGES})
"""What this code can enforce. A ticket that needs more is refused, never guessed."""
MAX_LEASE_S = 34_560  # 0.4 of the longest SVID life, 24 h
MAX_AHEAD_S = 300  # how far another clock may be ahead before its word is refused
T = TypeVar("T", d.TrustDocument, d.Ticket, d.Heartbeat, d.Workloads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Highest:
    """What was accepted, to be kept on disk: a restart must not open the door to a rollback.

    Plain JSON values only, so that it survives `dataclasses.asdict` and back.
    """

    delegation: int = 0
    delegation_digest: str = ""
    keys: list[str] = field(default_factory=list)
    """The delegated keys in hex, sorted: dropping one drops the marks below."""
    generation: int = 0
    trust_digest: str = ""
    heartbeat_at: int = 0
    heartbeat_generation: int = 0
    tickets: dict[str, int] = field(default_factory=dict)
    """Policy version -> generation of its newest ticket. A ticket carries a time: the same generation may be signed anew."""
    workloads: int = 0
    workloads_digest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustedBundle:
    """A ticket with the blobs it names: what may be enforced for one policy version."""

    ticket: d.Ticket
    rules: d.RulesBlob
    peers: d.PeersBlob

    @property
    def shadow(self) -> bool:
        """Whether it may be evaluated only, and not enforced."""
        return d.SHADOW in self.ticket.features


class TrustedDocuments:
    """The documents in force. Mutable by its `update_*` methods only, each all or nothing."""

    def __init__(
        self, *, root: bytes | Roots, trust_domain: str, node: str, highest: Highest | None = None
    ) -> None:
        """`root`: the one that was pinned, or all that are believed."""
        self.roots = root if isinstance(root, Roots) else roots.pinned(root)
        self.trust_domain, self.node = trust_domain, node
        self.highest = highest or Highest()
        self.delegation: d.Delegation | None = None
        self.trust: d.TrustDocument | None = None
        self.heartbeat: d.Heartbeat | None = None
        self.workloads: d.Workloads | None = None
        self._delegated_by = b""

    def update_roots(self, chain: Sequence[bytes]) -> Roots:
        """Believe the roots that this chain of changes leads to as well."""
        self.roots = roots.follow(self.roots, chain, self.trust_domain)
        return self.roots

    def update_delegation(self, data: bytes, now: int) -> d.Delegation:
        """Accept which keys sign documents: the word of a root."""
        root, payload = self.roots.signed(_parse(data, d.TYPE_DELEGATION), d.TYPE_DELEGATION)
        offered = payloads.load_delegation(payload)
        self._check_domain(offered.trust_domain)
        self._check_newer(
            "delegation",
            (offered.version, codec.digest(payload)),
            (self.highest.delegation, self.highest.delegation_digest),
        )
        if now >= offered.expires:
            raise ExpiredError(f"delegation expired at `{offered.expires}`")
        if not 1 <= offered.threshold <= len(offered.keys):
            raise ContentError("delegation needs a threshold, and as many keys")
        try:
            document_keys.check(offered.keys, offered.algorithms)
        except KeyFormatError as exc:
            raise ContentError(f"delegation: {exc}") from exc
        self._delegate(offered, codec.digest(payload))
        self._delegated_by = root
        return offered

    def _delegate(self, offered: d.Delegation, digest: str) -> None:
        keys = sorted(key.hex() for key in offered.keys)
        if set(self.highest.keys) - set(keys):
            # 5.3.11 of TUF: a dropped key may be a stolen one that signed generation 2^53, and everything accepted so
            # far may be its work. What can be replayed then is bounded by the lease of the heartbeat that must follow.
            self.highest, self.trust, self.heartbeat, self.workloads = Highest(), None, None, None
        self.delegation = offered
        self.highest = replace(self.highest, delegation=offered.version, delegation_digest=digest, keys=keys)

    def update_trust(self, data: bytes, now: int) -> d.TrustDocument:
        """Accept a trust document: not older, and for one generation only one content."""
        payload, offered = self._open(data, d.TYPE_TRUST, payloads.load_trust, now)
        digest = codec.digest(payload)
        self._check_newer(
            "trust document",
            (offered.generation, digest),
            (self.highest.generation, self.highest.trust_digest),
        )
        if offered.policy_min > offered.policy_now:
            raise ContentError("policy_min is above policy_now")
        if self._delegated_by not in offered.roots:
            raise ContentError("the trust document does not list the root that delegated its keys")
        left = self.roots.listed(offered.roots)
        offered = self._without_ended(offered, now)
        self.trust, self.roots = offered, left
        counting = {v: mark for v, mark in self.highest.tickets.items() if int(v) >= offered.policy_min}
        self.highest = replace(
            self.highest, generation=offered.generation, trust_digest=digest, tickets=counting
        )
        return offered

    def update_heartbeat(self, data: bytes, now: int) -> d.Heartbeat:
        """Accept a heartbeat, if its trust document is the one in hand; MixError names the one that is missing."""
        _, offered = self._open(data, d.TYPE_HEARTBEAT, payloads.load_heartbeat, now)
        trusted = max(self.highest.generation, self.highest.heartbeat_generation)
        if offered.generation < trusted:
            raise RollbackError("heartbeat", offered=offered.generation, trusted=trusted)
        if offered.at < self.highest.heartbeat_at:
            raise RollbackError("heartbeat time", offered=offered.at, trusted=self.highest.heartbeat_at)
        _check_made("heartbeat", offered.at, now)
        if not 0 < offered.until - offered.at <= MAX_LEASE_S:
            raise ContentError("heartbeat's lease is out of bounds")
        if now >= offered.until:
            raise ExpiredError(f"heartbeat's lease ended at `{offered.until}`")
        if self.trust is None or offered.trust != self.highest.trust_digest:
            raise MixError("trust document", wanted=offered.trust)
        self.heartbeat = offered
        self.highest = replace(self.highest, heartbeat_at=offered.at, heartbeat_generation=offered.generation)
        return offered

    def update_workloads(self, data: bytes, now: int) -> d.Workloads:
        """Accept who is who on this node, and on no other."""
        payload, offered = self._open(data, d.TYPE_WORKLOADS, payloads.load_workloads, now)
        if offered.node != self.node:
            raise AudienceError(f"workloads are those of `{offered.node}`")
        digest = codec.digest(payload)
        self._check_newer(
            "workloads",
            (offered.generation, digest),
            (self.highest.workloads, self.highest.workloads_digest),
        )
        self.workloads = offered
        self.highest = replace(self.highest, workloads=offered.generation, workloads_digest=digest)
        return offered

    def update_ticket(self, data: bytes, blobs: Mapping[str, bytes], now: int) -> TrustedBundle:
        """Accept a ticket with the blobs it names, for this node and no other."""
        _, offered = self._open(data, d.TYPE_TICKET, payloads.load_ticket, now)
        if offered.node != self.node:
            raise AudienceError(f"ticket is for `{offered.node}`")
        self._check_ticket_is_newest(offered)
        _check_made("ticket", offered.issued_at, now)
        if unknown := set(offered.features) - FEATURES:
            raise FeatureError(f"ticket needs `{min(unknown)}`, which this agent does not know")
        rules = codec.load_rules(_blob(blobs, offered.rules))
        peers = codec.load_peers(_blob(blobs, offered.peers))
        self._check_own(rules)
        tickets = {**self.highest.tickets, str(offered.policy_version): offered.generation}
        self.highest = replace(self.highest, tickets=tickets)
        return TrustedBundle(ticket=offered, rules=rules, peers=peers)

    def _check_ticket_is_newest(self, offered: d.Ticket) -> None:
        """Per policy version: the staged one and the one in force have tickets of their own."""
        if self.trust is not None and offered.policy_version < self.trust.policy_min:
            raise RollbackError(
                "policy version", offered=offered.policy_version, trusted=self.trust.policy_min
            )
        trusted = self.highest.tickets.get(str(offered.policy_version), 0)
        if offered.generation < trusted:
            raise RollbackError("ticket", offered=offered.generation, trusted=trusted)

    def _check_own(self, rules: d.RulesBlob) -> None:
        """A callee's rules are about its own resources."""
        ours = spiffe.parse(self.node).short
        for key in (*rules.ingress.resources, *(served.key for served in rules.served)):
            if key.node != ours:
                raise AudienceError(f"rules are for the resources of `{key.node}`")

    def restore_tickets(
        self, tickets: Sequence[bytes], blobs: Mapping[str, bytes], now: int
    ) -> list[TrustedBundle]:
        """Accept again, in any order, tickets from before this process began; those that no longer count stay out."""
        accepted = []
        for data in tickets:
            with contextlib.suppress(DocumentError):
                accepted.append(self.update_ticket(data, blobs, now))
        return accepted

    def _open(self, data: bytes, kind: str, read: Callable[[bytes], T], now: int) -> tuple[bytes, T]:
        """Payload and document, once enough delegated keys have signed it for our trust domain."""
        if self.delegation is None:
            raise RuntimeError("a delegation must be accepted before any other document")
        if now >= self.delegation.expires:
            raise ExpiredError("the delegation of document keys has expired")
        keys, threshold = self.delegation.keys, self.delegation.threshold
        try:
            payload = envelope.verify_documents(_parse(data, kind), kind, keys, threshold)
        except EnvelopeError as exc:
            raise SignatureError(f"{kind}: {exc}") from exc
        document = read(payload)
        self._check_domain(document.trust_domain)
        return payload, document

    @staticmethod
    def _check_newer(what: str, offered: tuple[int, str], trusted: tuple[int, str]) -> None:
        """Versions never fall, and one version has one content."""
        if offered[0] < trusted[0]:
            raise RollbackError(what, offered=offered[0], trusted=trusted[0])
        if offered[0] == trusted[0] and trusted[1] and offered[1] != trusted[1]:
            raise MixError(what, wanted=trusted[1])

    def _check_domain(self, trust_domain: str) -> None:
        if trust_domain != self.trust_domain:
            raise AudienceError(f"document is for the trust domain `{trust_domain}`")

    @staticmethod
    def _without_ended(offered: d.TrustDocument, now: int) -> d.TrustDocument:
        """All CAs are what they are listed as. One that has ended is left out: it must not keep the rest from counting."""

        def alive(kind: CaKind, cas: Sequence[bytes]) -> tuple[bytes, ...]:
            return roots.alive(cas, offered.roots, kind, now)

        return replace(
            offered,
            node_cas=alive(CaKind.NODE, offered.node_cas),
            control_plane_cas=alive(CaKind.CONTROL_PLANE, offered.control_plane_cas),
            workload_cas=alive(CaKind.WORKLOAD, offered.workload_cas),
        )


def _parse(data: bytes, kind: str) -> envelope.Envelope:
    try:
        return envelope.parse(data, payloads.MAX_DOCUMENT_BYTES[kind])
    except EnvelopeError as exc:
        raise SignatureError(f"{kind}: {exc}") from exc


def _check_made(what: str, made: int, now: int) -> None:
    if made > now + MAX_AHEAD_S:
        raise ContentError(f"{what} is `{made - now}` s ahead of our clock")


def _blob(blobs: Mapping[str, bytes], wanted: str) -> bytes:
    data = blobs.get(wanted)
    if data is None or codec.digest(data) != wanted:
        raise MixError("blob", wanted=wanted)
    return data


__all__ = ["FEATURES", "DocumentError", "Highest", "TrustedBundle", "TrustedDocuments"]
