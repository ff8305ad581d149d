"""What each node is told of its workloads: signed when its agent is there to take it, and kept while it stays true."""

from collections.abc import Sequence

from certs import spiffe
from certs.bundle import TrustBundle
from controlplane.model import ForeignBundleRow, WorkloadsRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.federation.relationships import read_bundle
from controlplane.services.identity.workloads import parsed
from controlplane.services.rows import Stored
from controlplane.store.base import Item
from policies import documents as d
from policies import payloads

PREFIXES = (rows.WORKLOADS, rows.FOREIGN_BUNDLES, rows.FOREIGN_CHANGE)
"""What `take` is given, of one revision."""


class WorkloadDocuments:
    """The generation of a document is the revision of its row, or, for nodes that federate, of the last change of bundles.

    It is the same on every replica, and grows: a row that federates with one less is a newer row.
    """

    def __init__(self, made: Authorities) -> None:
        self._made, self._parsed = made, rows.Parsed(WorkloadsRow)
        self._parsed_bundles = rows.Parsed(ForeignBundleRow)
        self._rows: dict[str, Stored[WorkloadsRow]] = {}
        self._bundles: dict[str, TrustBundle] = {}
        self._bundles_at = 0
        self._signed: dict[str, tuple[int, bytes]] = {}

    def take(self, items: Sequence[Item], bundles: Sequence[Item], change: Sequence[Item]) -> list[str]:
        """Registrations and bundles as they are now; the SPIFFE IDs of nodes whose document changed."""
        fresh = {stored.key: stored for stored in self._parsed(items)}
        before, self._rows = self._rows, fresh
        changed = {key for key, stored in fresh.items() if before.get(key) != stored}
        bundles_at = change[0].revision if change else 0
        if bundles_at != self._bundles_at:
            found = [read_bundle(stored.row) for stored in self._parsed_bundles(bundles)]
            self._bundles = {bundle.trust_domain: bundle for bundle in found}
            self._bundles_at = bundles_at
            changed |= {key for key, stored in fresh.items() if _federated(stored)}
        return [name for name in self._signed if _key(name) in changed] if changed else []

    def of(self, spiffe_id: str) -> bytes:
        """The signed document of a node, as it goes on the wire."""
        generation = self._generation(spiffe_id)
        kept = self._signed.get(spiffe_id)
        if kept and kept[0] == generation:
            return kept[1]
        stored = self._rows.get(_key(spiffe_id))
        document = d.Workloads(
            trust_domain=self._made.trust_domain,
            node=spiffe_id,
            generation=generation,
            workloads=parsed(stored.row) if stored else (),
            federated=tuple(
                self._bundles[name] for name in sorted(_federated(stored)) if name in self._bundles
            ),
        )
        payload = payloads.dump_workloads(document)
        sealed = payloads.seal(d.TYPE_WORKLOADS, payload, *self._made.document_signers()).to_json()
        self._signed[spiffe_id] = (generation, sealed)
        return sealed

    def _generation(self, spiffe_id: str) -> int:
        stored = self._rows.get(_key(spiffe_id))
        revision = stored.revision if stored else 0
        return max(revision, self._bundles_at) if _federated(stored) else revision


def _federated(stored: Stored[WorkloadsRow] | None) -> frozenset[str]:
    """The trust domains that a node's workloads federate with."""
    told = stored.row.workloads if stored else ()
    return frozenset(name for one in told for name in one["federates_with"])


def _key(spiffe_id: str) -> str:
    node = spiffe.parse(spiffe_id)
    return rows.workloads_key(node.node, node.site)
