"""Applied policy versions: parsed once, and which of them holds where.

A version may be limited to some sites; elsewhere the version below it holds. So one version number, and one ticket, stands
for different files at different sites, and the agents need not know.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from controlplane.errors import InvalidError
from controlplane.model import PolicySetRow, PolicyState
from controlplane.services import rows
from controlplane.services.policy import reading
from controlplane.store.base import Store
from policies.hierarchy import Hierarchy
from policies.syntax import Policy

MAX_BASES = 64  # site-limited versions on top of each other


@dataclass(frozen=True, slots=True)
class Plan:
    """Per version that counts and site, the version whose files hold there; and where a shadow is evaluated."""

    sources: dict[tuple[int, str], int]
    counting: tuple[int, ...]
    shadow: int
    shadow_sites: frozenset[str]

    @property
    def needed(self) -> frozenset[int]:
        """Versions that must be compiled."""
        return frozenset(self.sources.values()) | ({self.shadow} if self.shadow else set())

    def at(self, site: str) -> Iterator[tuple[int, int]]:
        """(version, version whose files it has here)."""
        return ((version, self.sources[version, site]) for version in self.counting)

    def shadow_at(self, site: str) -> int:
        """The shadow version, 0 where there is none."""
        return self.shadow if site in self.shadow_sites else 0


class Versions:
    """Reads stored versions. Version 0 has no policies, so everything is denied."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[int, tuple[PolicySetRow, tuple[Policy, ...]]] = {}

    async def policies(self, version: int) -> tuple[Policy, ...]:
        """As written; NotFoundError when there is no such version."""
        return (await self._read(version))[1] if version else ()

    async def row(self, version: int) -> PolicySetRow:
        return (await self._read(version))[0]

    def applied(self, row: PolicySetRow, policies: tuple[Policy, ...]) -> None:
        """What was just stored, by whom it was read already: thousands of policies take seconds."""
        self._known[row.version] = (row, policies)

    async def plan(self, state: PolicyState, sites: Collection[str]) -> Plan:
        """What is to be made for a state of the rollout."""
        counting = tuple(sorted({state.now, state.staged or state.now}))
        sources = {
            (version, site): await self.source(version, site) for version in counting for site in sites
        }
        shadowed: frozenset[str] = frozenset()
        if state.shadow:
            limited = (await self.row(state.shadow)).sites
            shadowed = frozenset(site for site in sites if not limited or site in limited)
        return Plan(sources, counting, state.shadow, shadowed)

    async def source(self, version: int, site: str) -> int:
        """The version whose files hold at a site when `version` is enforced."""
        while version:
            row = await self.row(version)
            if not row.sites or site in row.sites:
                break
            version = row.base
        return version

    async def fit(self, state: PolicyState, sites: Collection[str], groups: Hierarchy) -> None:
        """InvalidError unless every version that counts can be made into rules with these groups spelled out."""
        for version in sorted((await self.plan(state, sites)).needed):
            if found := await reading.misfits(await self.policies(version), groups):
                one = found[0]
                raise InvalidError(
                    f"with these groups policy `{one.policy}` of version `{version}`: {one.message}"
                )

    async def _read(self, version: int) -> tuple[PolicySetRow, tuple[Policy, ...]]:
        if version not in self._known:
            key = rows.policy_key(version)
            stored = await rows.read(self._store, PolicySetRow, key, f"policy version `{version}`")
            self._known[version] = (stored.row, await reading.load(stored.row.files))
        return self._known[version]
