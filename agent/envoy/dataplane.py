"""What is verified becomes what Envoy enforces, in an order that never opens anything in between.

1. The gate first and alone: a revocation waits for nothing, and takes effect on open connections in milliseconds.
2. Secrets, clusters, routes.
3. Rules, when they change: forbids of before and after together, then permits, then the forbids of after. Narrowing first,
   widening last; each step is acknowledged before the next. Where no forbid comes the first is left out, where none goes
   the last.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from agent import identity as identities
from agent.envoy import ads, authorize, gate, pb, resources
from agent.envoy.actions import Stamp
from agent.envoy.ads import AdsServer, Entry
from agent.envoy.settings import EnvoySettings
from agent.errors import NotAcknowledgedError
from agent.identity import Identity
from agent.state import Enforceable
from policies import asking
from policies.documents import Peer, RulesBlob
from policies.model import Code, Rules

NOTHING = Rules(rules=(), resources=frozenset())
MIN_TTL_S = 1


@dataclass(frozen=True, slots=True)
class _Loaded:
    """What was last acknowledged of the two rule filters, per listener."""

    rules: RulesBlob
    peers: tuple[Peer, ...]
    stamp: Stamp


class DataPlane:
    """Drives one Envoy through its xDS server. Not thread safe; one task calls `enforce`."""

    def __init__(self, server: AdsServer, settings: EnvoySettings) -> None:
        self._server, self._settings = server, settings
        self._filters: dict[str, Entry] = {}
        self._loaded: _Loaded | None = None
        self._changing = False  # a change that failed half-way may have taken effect, or not
        self._dropped_at = float("inf")  # when Envoy drops the gate if we fall silent
        self._closed_times = 0  # a load that was under way when Envoy was replaced has loaded nothing

    def close(self, identity: Identity) -> None:
        """Offer a state that denies everything: for an Envoy that has just started, and knows nothing."""
        self._loaded = None
        self._closed_times += 1
        stamp = Stamp(generation=0, policy_version=0)
        for direction in ("in", "out"):
            for part in ("gate", "forbids", "permits"):
                self._filters[f"{part}-{direction}"] = _entry(
                    f"{part}-{direction}", gate.closed(Code.UNEVALUABLE, stamp)
                )
        secrets = (
            resources.identity_secret(identity.key_pem, identity.chain_pem),
            resources.peers_secret(identities.pem(identity.chain[1])),
        )
        routes = (resources.ingress_routes(()), resources.egress_routes((), identity.subject))
        self._server.offer(
            {
                ads.SECRET: {one.name: Entry.of(one.name, one) for one in secrets},
                ads.CLUSTER: {},
                ads.ROUTE: {one.name: Entry.of(one.name, one) for one in routes},
                ads.EXTENSION: self._filters,
            }
        )

    async def shut(self, state: Enforceable, *, recording: bool) -> None:
        """The gate of `state`, acknowledged. `recording` False: evidence cannot be written, so deny."""
        now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        if boottime >= self._dropped_at:
            # With the gate, Envoy drops every filter that came the same way: requests get 500, and nothing passes.
            self._server.resend(ads.EXTENSION)
        self._gate(state, _stamp(state), state.lease.wall_until(now, boottime), now, recording=recording)
        if self._loaded is not None:
            await self._publish_filters()

    async def load(self, state: Enforceable) -> Stamp:
        """Everything else of `state`, after its gate; returns when Envoy has acknowledged all three filters."""
        blob = state.bundle.rules if state.bundle else RulesBlob(ingress=NOTHING, egress=NOTHING, served=())
        peers = state.bundle.peers.peers if state.bundle else ()
        wanted = _Loaded(blob, peers, _stamp(state))
        first, closed_times = self._loaded is None, self._closed_times
        if first:
            self._rules(wanted, forbidden=blob)
        self._server.offer({ads.EXTENSION: self._filters})
        await self._server.publish(self._surroundings(state, blob, peers))
        if first:
            await self._publish_filters()
        elif wanted != self._loaded:
            await self._change_rules(wanted)
        if closed_times != self._closed_times:
            raise NotAcknowledgedError("Envoy was replaced meanwhile")
        self._loaded, self._changing = wanted, False
        return wanted.stamp

    def _gate(self, state: Enforceable, stamp: Stamp, until: float, now: float, *, recording: bool) -> None:
        td = self._settings.trust_domain
        closed = self._closed(state, until, now, recording=recording)
        ttl = max(MIN_TTL_S, int(until - now) + 1)
        for direction, made in (("in", gate.ingress), ("out", gate.egress)):
            rbac = gate.closed(closed, stamp) if closed else made(state.trust.floors, until, td, stamp)
            # A closed gate has no lease: it stays until something better comes.
            self._filters[f"gate-{direction}"] = _entry(f"gate-{direction}", rbac, 0 if closed else ttl)
        if not closed:
            self._dropped_at = time.clock_gettime(time.CLOCK_BOOTTIME) + ttl

    def _closed(self, state: Enforceable, until: float, now: float, *, recording: bool) -> Code | None:
        if now >= until:
            return Code.LEASE_EXPIRED
        if state.trust.floors.get(str(state.identity.spiffe_id), 1) is None:
            return Code.REVOKED
        if state.bundle is None or not recording:
            return Code.UNEVALUABLE
        return None

    async def _change_rules(self, wanted: _Loaded) -> None:
        before, unsure = self._loaded, self._changing
        self._changing = True
        same = before is None or (before.rules, before.peers) == (wanted.rules, wanted.peers)
        if before is None or (same and not unsure):
            self._rules(wanted, forbidden=wanted.rules)  # only names change: any order will do
            await self._publish_filters()
            return
        moved = unsure or before.peers != wanted.peers
        change = authorize.change(before.rules, wanted.rules, moved=moved)
        if change.narrows:
            self._forbids(change.between, (*before.peers, *wanted.peers), wanted.stamp)
            await self._publish_filters()
        # Forbids that stay as they are only get their new names: with the permits, in whatever order Envoy takes them.
        self._rules(wanted, forbidden=None if change.narrows or change.widens else wanted.rules)
        await self._publish_filters()
        if change.widens:
            self._forbids(wanted.rules, wanted.peers, wanted.stamp)
            await self._publish_filters()

    def _rules(self, wanted: _Loaded, forbidden: RulesBlob | None) -> None:
        peers = {peer.node: peer.spiffe_id for peer in wanted.peers}
        for direction, rules, known in (
            ("in", wanted.rules.ingress, None),
            ("out", wanted.rules.egress, peers),
        ):
            name = f"permits-{direction}"
            self._filters[name] = _entry(name, authorize.permits(rules, known, wanted.stamp))
        if forbidden is not None:
            self._forbids(forbidden, wanted.peers, wanted.stamp)

    def _forbids(self, blob: RulesBlob, peers: Sequence[Peer], stamp: Stamp) -> None:
        known = {peer.node: peer.spiffe_id for peer in peers}
        for direction, rules, those in (("in", blob.ingress, None), ("out", blob.egress, known)):
            name = f"forbids-{direction}"
            self._filters[name] = _entry(name, authorize.forbids(rules, those, stamp))

    async def _publish_filters(self) -> None:
        await self._server.publish({ads.EXTENSION: self._filters})

    def _surroundings(self, state: Enforceable, blob: RulesBlob, peers: Sequence[Peer]) -> ads.Snapshot:
        mine = resources.identity_secret(state.identity.key_pem, state.identity.chain_pem)
        theirs = resources.peers_secret(identities.pem(*state.trust.node_cas))
        clusters = [
            *resources.peer_clusters(peers, state.identity.epoch, self._settings),
            *resources.local_clusters(blob.served, self._settings),
        ]
        routes = (
            resources.ingress_routes(blob.served, asking.wanted(blob.ingress)),
            resources.egress_routes(peers, state.identity.subject, asking.wanted(blob.egress)),
        )
        return {
            ads.SECRET: {one.name: Entry.of(one.name, one) for one in (mine, theirs)},
            ads.CLUSTER: {one.name: Entry.of(one.name, one) for one in clusters},
            ads.ROUTE: {one.name: Entry.of(one.name, one) for one in routes},
        }


def _stamp(state: Enforceable) -> Stamp:
    version = state.bundle.ticket.policy_version if state.bundle else 0
    return Stamp(generation=state.trust.generation, policy_version=version)


def _entry(name: str, rbac: RBAC, ttl_s: int = 0) -> Entry:
    return Entry.of(name, TypedExtensionConfig(name=name, typed_config=pb.packed(rbac)), ttl_s)
