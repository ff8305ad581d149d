"""What each node is told of its workloads: signed when its agent is there to take it, and kept while it stays true."""

from collections.abc import Sequence

from certs import spiffe
from controlplane.model import WorkloadsRow
from controlplane.services import rows
from controlplane.services.authorities import Authorities
from controlplane.services.rows import Stored
from controlplane.services.workloads import parsed
from controlplane.store.base import Item
from policies import documents as d
from policies import payloads


class WorkloadDocuments:
    """The generation of a document is the revision of its row: the same on every replica."""

    def __init__(self, made: Authorities) -> None:
        self._made, self._parsed = made, rows.Parsed(WorkloadsRow)
        self._rows: dict[str, Stored[WorkloadsRow]] = {}
        self._signed: dict[str, tuple[int, bytes]] = {}

    def take(self, items: Sequence[Item]) -> list[str]:
        """The registrations as they are now; the SPIFFE IDs of nodes whose document changed."""
        fresh = {stored.key: stored for stored in self._parsed(items)}
        before, self._rows = self._rows, fresh
        changed = {key for key, stored in fresh.items() if key not in before or before[key] != stored}
        return [name for name in self._signed if _key(name) in changed] if changed else []

    def of(self, spiffe_id: str) -> bytes:
        """The signed document of a node, as it goes on the wire."""
        stored = self._rows.get(_key(spiffe_id))
        revision = stored.revision if stored else 0
        kept = self._signed.get(spiffe_id)
        if kept and kept[0] == revision:
            return kept[1]
        document = d.Workloads(
            trust_domain=self._made.trust_domain,
            node=spiffe_id,
            generation=revision,
            workloads=parsed(stored.row) if stored else (),
        )
        payload = payloads.dump_workloads(document)
        sealed = payloads.seal(d.TYPE_WORKLOADS, payload, self._made.document_signer()).to_json()
        self._signed[spiffe_id] = (revision, sealed)
        return sealed


def _key(spiffe_id: str) -> str:
    node = spiffe.parse(spiffe_id)
    return rows.workloads_key(node.node, node.site)
