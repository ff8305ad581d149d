"""What evidence makes of a node: who it may be, how strongly, and when it must be shown again.

1. Evidence is judged by the attestor of its kind; a kind that is not configured proves nothing.
2. A node that nobody declared is made only if its attestor says of what attributes; its site must exist.
3. An enrolled node belongs to the attestor that enrolled it, or to a join token: another authority that maps its own
   machines to that name does not get it. Who is revoked, or invited again, starts anew.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from certs.attributes import narrowed
from certs.spiffe import SpiffeId
from controlplane import model
from controlplane.attest.base import JOIN_TOKEN, Attested, Attestor, Evidence
from controlplane.attest.token import Invitation
from controlplane.errors import NotAttestedError
from controlplane.model import NodeRow, SiteRow, TokenRow
from controlplane.services import rows
from controlplane.services.identity.nodes import WAY_BACK, dead_before, new_node
from controlplane.services.rows import Stored
from controlplane.store.base import Store

AHEAD_S = 600  # how far clocks of replicas may differ


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """An attestor, and what operators are told of it."""

    attestor: Attestor
    tier: int
    reattest_s: int = 0
    """How long after evidence was shown a renewal needs it anew; 0: never."""
    facts: Mapping[str, str] = dataclasses.field(default_factory=dict)


class Attestation:
    """The attestors of this control plane, by kind of evidence."""

    def __init__(
        self, store: Store, trust_domain: str, configured: Mapping[str, Configured], clock: Callable[[], int]
    ) -> None:
        self._store, self._trust_domain, self.configured = store, trust_domain, configured
        self._clock = clock
        self.refused: Counter[str] = Counter(dict.fromkeys(configured, 0))
        """How much evidence was not believed since we started, by kind."""

    async def attest(self, evidence: Evidence) -> Attested:
        """Who shows it; NotAttestedError, or UnavailableError when that cannot be said now."""
        known = self.configured.get(evidence.kind)
        if known is None:  # (1)
            raise NotAttestedError(
                f"evidence of kind `{evidence.kind[:32]}` is not accepted here", hint="writ attestor list"
            )
        return await known.attestor.attest(evidence)

    async def attest_again(self, evidence: Evidence, spiffe_id: SpiffeId) -> Attested:
        """As `attest`, of a node that is known already: its evidence must say the same name."""
        if evidence.kind == JOIN_TOKEN:
            raise NotAttestedError("a join token enrols, and proves nothing again")
        attested = await self.attest(evidence)
        if (attested.node, attested.site) != (spiffe_id.node, spiffe_id.site):
            raise NotAttestedError(
                f"the evidence is of `{attested.node}.{attested.site}`, not of `{spiffe_id.short}`"
            )
        return attested

    async def node(self, attested: Attested) -> Stored[NodeRow]:
        """The node that was attested, as stored or as it would be; NotAttestedError when it may not enrol like that."""
        key = rows.node_key(attested.node, attested.site)
        stored = await rows.find(self._store, NodeRow, key)
        if stored is None:
            return Stored(key, await self._undeclared(attested), 0)
        row = stored.row
        if row.state in model.SHUT_OUT:
            hint = f"writ node {WAY_BACK[row.state]} {row.short}"
            raise NotAttestedError(f"node `{row.short}` is {row.state}", hint=hint)
        if row.state == model.ENROLLED and attested.kind not in {JOIN_TOKEN, _attestor_of(row)}:  # (3)
            raise NotAttestedError(
                f"node `{row.short}` was enrolled by `{_attestor_of(row)}`, not by `{attested.kind}`",
                hint=f"writ node revoke {row.short}, then unrevoke it",
            )
        return stored

    async def _undeclared(self, attested: Attested) -> NodeRow:
        site = await rows.find(self._store, SiteRow, rows.site_key(attested.site))
        if site is None or attested.attributes is None:  # (2)
            raise NotAttestedError(
                f"there is no {'site' if site is None else 'node'} for `{attested.node}.{attested.site}`"
            )
        made = new_node(self._trust_domain, attested.node, site.row)
        return dataclasses.replace(made.with_attributes(attested.attributes), tier=made.tier)

    def due(self, row: NodeRow) -> bool:
        """Must the node show evidence before it renews?"""
        known = self.configured.get(_attestor_of(row))
        longest = known.reattest_s if known is not None else 0
        # From the future: a clock was wrong then, or is now. What cannot be told is not taken for fresh.
        return bool(longest) and not -AHEAD_S <= self._clock() - row.attested_at < longest

    def enrolled(self, row: NodeRow, attested: Attested) -> NodeRow:
        """The row of a node that proved itself. Epoch and floors rise: whatever was issued to this name before stays dead."""
        epoch, ended = row.epoch + 1, row.epoch > 0
        floor_at = self._clock() if ended else row.floor_at  # the first certificate has none before it
        row = dataclasses.replace(
            row, epoch=epoch, floor=epoch, renew_floor=epoch, reason="", floor_at=floor_at
        )
        return self._noted(row, attested)

    def renewed(self, row: NodeRow, attested: Attested) -> NodeRow:
        """The row of a node that proved itself again. If it counts for less now, certificates that say more are dead."""
        if attested.kind != _attestor_of(row):
            raise NotAttestedError(f"node `{row.short}` was enrolled by `{_attestor_of(row)}`")
        noted = self._noted(row, attested)
        if not narrowed(row.attributes, noted.attributes):
            return noted
        return dataclasses.replace(dead_before(noted), floor_at=self._clock())

    def _noted(self, row: NodeRow, attested: Attested) -> NodeRow:
        return dataclasses.replace(
            row, attested_by=attested.kind, attested_at=self._clock(), attested_tier=attested.tier
        )


class StoredInvitations:
    """What operators said when they made join tokens."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, name: str) -> Invitation | None:
        found = await rows.find(self._store, TokenRow, rows.token_key(name))
        if found is None:
            return None
        return Invitation(node=found.row.node, site=found.row.site, expires_at=found.row.expires_at)


def _attestor_of(row: NodeRow) -> str:
    return row.attested_by or JOIN_TOKEN
