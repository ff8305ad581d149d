"""How a policy comes into force: staged, pushed, enforced; shadowed first, promoted, or rolled back.

1. Nothing is stored before it has been compiled for every node.
2. A version is staged and pushed, and only then in force: what agents do not hold denies nothing by accident.
3. Version numbers only rise: promoting and rolling back apply the old files as a new version.
4. A shadow is never the version in force, nor below it: its number is not raised to, and its ticket needs a feature.
   Whatever changes the enforced policy ends the shadow: it was compared with what was enforced before.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane import model
from controlplane.errors import ConflictError, InvalidError, NotFoundError
from controlplane.model import NodeRow, PolicySetRow, PolicyState, ResourceRow
from controlplane.services import rows
from controlplane.services.policy import reading
from controlplane.services.push.bundles import BundleMaker
from controlplane.services.push.publish import BREATH, Publisher
from controlplane.services.rows import Stored
from controlplane.store.base import Store
from policies.errors import PolicyError
from policies.hierarchy import Hierarchy
from policies.syntax import Policy

STAGE_WAIT_S = 5.0  # how long a new policy waits for agents to hold it before it is put in force
LAG_WAIT_S = 60.0  # how long it waits for them to enforce it before older versions stop counting
MAX_FILES_BYTES = 900_000  # a store value's bound, with room


@dataclass(frozen=True, slots=True, kw_only=True)
class How:
    """How a policy set is applied. `now`: do not wait for agents that lag; `sites` empty: everywhere."""

    by: str
    now: bool = False
    dry_run: bool = False
    shadow: bool = False
    sites: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What was, or with `dry_run` would be, applied."""

    version: int
    policies: tuple[Policy, ...]
    bundles: int


class Rollout:
    """Changes which policy versions count."""

    def __init__(self, store: Store, publisher: Publisher, clock: Callable[[], float] = time.time) -> None:
        self._store, self._publisher, self._clock = store, publisher, clock

    async def apply(self, files: dict[str, str], how: How) -> Applied:
        """PolicyError refuses everything before anything is stored."""
        policies = await reading.load(files)
        if sum(len(text.encode()) for text in files.values()) > MAX_FILES_BYTES:
            raise InvalidError(f"a policy set is at most {MAX_FILES_BYTES // 1000} kB")
        await self._check_sites(how.sites)
        state = await rows.policy_state(self._store)
        version = state.row.next
        nodes = {stored.row.short: stored.row for stored in await rows.every(self._store, NodeRow, "node/")}
        resources = [stored.row for stored in await rows.every(self._store, ResourceRow, "resource/")]
        groups = await _fit(policies, state.row)
        bundles = await _made(version, policies, nodes, resources, groups)
        applied = Applied(version=version, policies=policies, bundles=bundles)
        if not how.dry_run:
            row = PolicySetRow(
                version=version,
                files=files,
                applied_at=int(self._clock()),
                applied_by=how.by,
                sites=sorted(set(how.sites)),
                base=state.row.now if how.sites else 0,
                shadow=how.shadow,
                note=how.note,
            )
            await self._begin(row, policies, state, now=how.now)
        return applied

    async def promote(self, how: How) -> Applied:
        """Enforce what is shadowed; or everywhere, what is enforced at some sites."""
        state = (await rows.policy_state(self._store)).row
        row = (
            await self._publisher.versions.row(state.shadow or state.now)
            if state.now or state.shadow
            else None
        )
        if row is None or not (row.shadow or row.sites):
            hint = "writ policy apply --shadow"
            raise ConflictError("no policy is shadowed, and none is limited to sites", hint=hint)
        return await self.apply(row.files, replace(how, note=f"promotion of {row.version}"))

    async def rollback(self, version: int, how: How) -> Applied:
        """Enforce an earlier version again, as a new one; 0: the one that was enforced before. Ends a shadow."""
        row = await self.earlier(version)
        note = f"rollback to {row.version}"
        if not row.sites:
            return await self.apply(row.files, replace(how, note=note))
        state = await rows.policy_state(self._store)
        again = replace(
            row, version=state.row.next, applied_at=int(self._clock()), applied_by=how.by, note=note
        )
        policies = await self._publisher.versions.policies(row.version)
        await _fit(policies, state.row)
        await self._begin(again, policies, state, now=how.now)
        return Applied(version=again.version, policies=policies, bundles=len(self._publisher.nodes))

    async def withdraw(self) -> int:
        """End the shadow; its version stays in the history."""
        state = await rows.policy_state(self._store)
        if not state.row.shadow:
            raise ConflictError("no policy is shadowed")
        await self._commit(state, replace(state.row, shadow=0))
        return state.row.shadow

    async def finish(self, version: int) -> None:
        """Let older versions stop counting once every connected agent enforces this one."""
        agents = self._publisher.agents
        if await self._until(lambda: all(agent.policy_version >= version for agent in agents()), LAG_WAIT_S):
            await self._raise(version, minimum=version)

    # --- inside --------------------------------------------------------------------------------------------------

    async def _begin(
        self, row: PolicySetRow, policies: tuple[Policy, ...], state: Stored[PolicyState], *, now: bool
    ) -> None:
        version = row.version
        if row.shadow:
            await self._commit(state, replace(state.row, shadow=version, latest=version), (row, policies))
            return
        staged = replace(state.row, staged=version, shadow=0, latest=version)
        await self._commit(state, staged, (row, policies))
        agents = self._publisher.agents
        await self._until(lambda: all(version in agent.staged for agent in agents()), STAGE_WAIT_S)
        await self._raise(version, minimum=version if now else None)

    async def _commit(
        self,
        state: Stored[PolicyState],
        new: PolicyState,
        applied: tuple[PolicySetRow, tuple[Policy, ...]] | None = None,
    ) -> None:
        """Store a state, with the version it begins to speak of, and tell the agents."""
        expect, put = {rows.POLICY: state.revision}, {rows.POLICY: model.dump(new), rows.MESH: b"{}"}
        if applied is not None:
            key = rows.policy_key(applied[0].version)
            expect[key], put[key] = 0, model.dump(applied[0])
        await self._store.commit(expect=expect, put=put)
        if applied is not None:
            self._publisher.versions.applied(*applied)
        await self._publisher.refresh()
        await self._publisher.refresh_bundles()

    async def _raise(self, version: int, minimum: int | None) -> None:
        state = await rows.policy_state(self._store)
        if state.row.now > version:
            return None  # a newer policy overtook this one
        newer = state.row.staged if state.row.staged > version else 0
        raised = replace(state.row, minimum=max(state.row.minimum, minimum or 0), now=version, staged=newer)
        if raised == state.row:
            return None
        try:
            await self._store.commit(
                expect={rows.POLICY: state.revision}, put={rows.POLICY: model.dump(raised), rows.MESH: b"{}"}
            )
        except ConflictError:
            return await self._raise(version, minimum)
        await self._publisher.refresh()
        return None

    async def earlier(self, version: int) -> PolicySetRow:
        """What `rollback` would bring back."""
        state = (await rows.policy_state(self._store)).row
        known = [stored.row for stored in await rows.every(self._store, PolicySetRow, "policy/set/")]
        before = [row for row in known if row.version < state.now and not row.shadow]
        wanted = [row for row in before if version in {0, row.version}]
        if not wanted:
            what = f"version `{version}`" if version else "earlier version"
            raise NotFoundError(f"no {what} was enforced before", hint="writ policy history")
        return wanted[-1]

    async def _check_sites(self, sites: Sequence[str]) -> None:
        for site in sites:
            await rows.read(self._store, model.SiteRow, rows.site_key(site), f"site `{site}`")

    async def _until(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for agents to get somewhere; False when they did not in time."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._publisher.hub.until(reached)
        except TimeoutError:
            return False
        return True


async def _fit(policies: Sequence[Policy], state: PolicyState) -> Hierarchy:
    """The groups that there are; PolicyError where a policy cannot be enforced with them spelled out."""
    groups = rows.groups(state)
    if found := await reading.misfits(policies, groups):
        raise PolicyError(*found)
    return groups


async def _made(
    version: int,
    policies: Sequence[Policy],
    nodes: Mapping[str, NodeRow],
    resources: Sequence[ResourceRow],
    groups: Hierarchy,
) -> int:
    """How many bundles can be made; PolicyError where one cannot. With ten thousand nodes it takes seconds: others go on."""
    maker = BundleMaker()
    plan = maker.plan(version, policies, nodes, resources, groups)
    for number, row in enumerate(plan.alive.values()):
        if number % BREATH == 0:
            await asyncio.sleep(0)
        maker.bundle(plan, row)
    return len(plan.alive)
