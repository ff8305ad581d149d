"""Does a call widen access? Asked only where the mesh wants a second operator for it.

What is not known here, and what cannot be decided, widens. A call that will be refused anyway widens nothing: it is let through
to be refused.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from certs.attributes import Attributes, narrowed
from certs.errors import CertError
from controlplane.model import NodeRow, PolicySetRow
from controlplane.operator_rows import OperatorRow
from controlplane.services import rows
from controlplane.services.admin import grants
from controlplane.services.admin.grants import Grant
from controlplane.services.policy import reading
from controlplane.services.policy.explanation import known_mesh
from controlplane.services.policy.rollout import Rollout
from controlplane.services.push.publish import Publisher
from controlplane.store.base import Store
from policies.diff import diff
from policies.errors import PolicyError
from policies.syntax import Policy

Check = Callable[[Any, Grant], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Widening:
    """Looks at requests, and at what they would change."""

    store: Store
    publisher: Publisher
    rollout: Rollout

    async def widens(self, call: str, request: Any, by: Grant) -> bool:
        checks: dict[str, Check] = {
            "SetNode": self._node,
            "ApplyResources": self._resources,
            "ApplyPolicy": self._apply,
            "PromotePolicy": self._promote,
            "RollbackPolicy": self._rollback,
            "SetOperator": self._operator,
            "RenewOperator": self._renewal,
            "SetApproval": self._setting,
            "PrepareRoot": self._root,
        }
        check = checks.get(call)
        return True if check is None else await check(request, by)

    async def _node(self, request: Any, _: Grant) -> bool:
        found = await rows.find(self.store, NodeRow, rows.node_key(request.node, request.site))
        given = request.attributes
        try:
            wanted = Attributes(
                tier=given.tier,
                groups=frozenset(given.groups),
                purposes=frozenset(given.purposes),
                regions=frozenset(given.regions),
                class_floor=given.class_floor,
                class_ceiling=given.class_ceiling,
            )
        except CertError:
            return False
        return found is not None and narrowed(wanted, found.row.attributes)

    async def _resources(self, request: Any, _: Grant) -> bool:
        """What a resource is decides which policies speak of it: every declaration may open something."""
        return not request.dry_run

    async def _root(self, request: Any, _: Grant) -> bool:
        return not request.dry_run

    async def _apply(self, request: Any, _: Grant) -> bool:
        if request.dry_run or request.shadow:
            return False
        files = {file.name: file.text for file in request.source.files}
        return await self._policy(files, list(request.sites))

    async def _promote(self, request: Any, _: Grant) -> bool:
        state = (await rows.policy_state(self.store)).row
        version = state.shadow or state.now
        if not version:
            return False
        return await self._policy((await self.publisher.versions.row(version)).files, list(request.sites))

    async def _rollback(self, request: Any, _: Grant) -> bool:
        row: PolicySetRow = await self.rollout.earlier(request.version)
        return True if row.sites else await self._policy(row.files, [])

    async def _policy(self, files: dict[str, str], sites: list[str]) -> bool:
        """Against what holds now at each of the sites: exact, and what cannot be decided counts (`policies.diff`)."""
        try:
            wanted = await reading.load(files)
        except PolicyError:
            return False
        mesh, state = await known_mesh(self.store), (await rows.policy_state(self.store)).row
        places = sites or [row.site for row in mesh.nodes] or [""]
        versions = {await self.publisher.versions.source(state.now, place) for place in places}
        for version in versions:
            before = await self.publisher.versions.policies(version)
            if await asyncio.to_thread(_gains, before, wanted, mesh):
                return True
        return False

    async def _operator(self, request: Any, _: Grant) -> bool:
        found = await rows.find(self.store, OperatorRow, rows.operator_key(request.name))
        if found is None:
            return False
        before = found.row
        less = before.role in {request.role, grants.ADMIN}
        within = not before.sites or (bool(request.sites) and set(request.sites) <= set(before.sites))
        return not (less and within and request.hours <= before.hours)

    async def _renewal(self, request: Any, by: Grant) -> bool:
        """One's own goes on with what it is; for another it is a key that somebody brings."""
        return request.name not in {"", by.name}

    async def _setting(self, request: Any, _: Grant) -> bool:
        return not request.required


def _gains(before: tuple[Policy, ...], after: tuple[Policy, ...], mesh: Any) -> bool:
    return any(change.widens for change in diff(before, after, mesh))
