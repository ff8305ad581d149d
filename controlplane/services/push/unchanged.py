"""Which nodes' tickets and blobs are to be made again: of ten thousand nodes a change mostly concerns one.

Everything that a node is given is made from its own row and from what all nodes share. While neither changed, nor has what was made.
"""

from collections.abc import Sequence

from controlplane.model import NodeRow
from controlplane.services.push.issued import NodeIssue


class Unchanged:
    """What was made last, and from which rows. `due`, then `keep` for each of them, then `issues`."""

    def __init__(self) -> None:
        self._shared: object = None
        self._next: object = None
        self._made: dict[str, tuple[NodeRow, str, NodeIssue]] = {}
        self._alive: Sequence[NodeRow] = ()

    def due(self, alive: Sequence[NodeRow], shared: object) -> Sequence[NodeRow]:
        """Those of `alive` for whom something must be made. A row that was not read anew is the same object."""
        same = shared == self._shared
        # Nothing holds until `issues`: a run that fails half-way leaves what is made from two states.
        self._shared, self._next, self._alive = None, shared, alive
        return [row for row in alive if not (same and self._holds(row))]

    def keep(self, row: NodeRow, issue: NodeIssue) -> None:
        """An issue that says the same as before stays the one before: its node has it."""
        before = self._made.get(row.short)
        kept = before[2] if before and before[2] == issue else issue
        self._made[row.short] = (row, str(row.spiffe_id), kept)

    def issues(self) -> dict[str, NodeIssue]:
        """By SPIFFE ID, of all nodes of the last `due`."""
        self._made = {row.short: self._made[row.short] for row in self._alive}
        self._shared = self._next
        return {spiffe_id: issue for _, spiffe_id, issue in self._made.values()}

    def _holds(self, row: NodeRow) -> bool:
        made = self._made.get(row.short)
        return made is not None and made[0] is row
