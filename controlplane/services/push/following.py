"""What other replicas change, as it reaches this one: generations to sign and push, renewals to ask for, rows at hand.

Nothing is decided here. A watch that lags delays a push by as much; what must not be late is read from the store.
"""

import asyncio
from collections.abc import Callable
from dataclasses import fields
from operator import attrgetter

import structlog

from controlplane import model
from controlplane.errors import ControlPlaneError
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.services.push.publish import Publisher
from controlplane.services.rows import Stored
from controlplane.store.base import Event, Store
from controlplane.store.follow import follow

log = structlog.get_logger()
# What changes no bundle: each renewal writes it.
BESIDE = {
    *("serial", "not_after", "renew_serial", "issuer", "evidence_key", "reason"),
    *("attested_by", "attested_at", "floor_at"),
}
MATTERING = attrgetter(*(field.name for field in fields(NodeRow) if field.name not in BESIDE))


class Following:
    """Watches of this replica. `replicas_changed` is told when somebody joins, leaves or moves."""

    def __init__(self, store: Store, publisher: Publisher, replicas_changed: Callable[[], None]) -> None:
        self._store, self._publisher, self._replicas_changed = store, publisher, replicas_changed
        self._nodes: dict[str, Stored[NodeRow]] = {}

    def node(self, node: str, site: str) -> Stored[NodeRow] | None:
        """A node's row as it was a moment ago."""
        return self._nodes.get(rows.node_key(node, site))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._mesh())
            tasks.create_task(self._follow_nodes())
            tasks.create_task(self._follow_replicas())

    async def _mesh(self) -> None:
        async for event in follow(self._store, rows.MESH):
            issue = self._publisher.issue
            if issue is not None and issue.generation >= event.revision:
                continue  # our own change, signed already
            try:
                await self._publisher.refresh()
            except ControlPlaneError as exc:
                log.warning("generation_not_signed", generation=event.revision, reason=str(exc))

    async def _follow_nodes(self) -> None:
        async for event in follow(self._store, "node/"):
            before = self._nodes.pop(event.key, None)
            if event.value is None:
                self._publisher.bundles_due.set()
            else:
                self._node_changed(before, event, event.value)

    def _node_changed(self, before: Stored[NodeRow] | None, event: Event, value: bytes) -> None:
        row = model.load(NodeRow, value)
        self._nodes[event.key] = Stored(event.key, row, event.revision)
        if before is None or MATTERING(before.row) != MATTERING(row):
            self._publisher.bundles_due.set()
        if row.renew_serial and (before is None or before.row.renew_serial != row.renew_serial):
            self._ask_to_renew(row)

    def _ask_to_renew(self, row: NodeRow) -> None:
        self._publisher.hub.ask_to_renew(str(row.spiffe_id), row.renew_serial)

    async def _follow_replicas(self) -> None:
        async for _ in follow(self._store, "replica/"):
            self._replicas_changed()
