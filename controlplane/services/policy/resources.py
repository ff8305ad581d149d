"""What nodes serve, and the groups policies name. All of a call is applied, or nothing.

What a group is in is a change of the policies that name it: it is stored beside what versions count, in one compare-and-set,
so that two calls cannot close a circle between them, and only if every version that counts can be enforced with it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane import model
from controlplane.errors import InvalidError, NotFoundError
from controlplane.model import NodeRow, PolicyState, ResourceRow, SiteRow
from controlplane.services import rows
from controlplane.services.policy.versions import Versions
from controlplane.services.rows import Stored
from controlplane.store.base import MAX_OPERATIONS, Store
from policies import hierarchy
from policies.errors import InputError
from policies.grammar import RESOURCE_NAME as NAME
from policies.model import CLASS_MAX, RESOURCE_KINDS

GROUP_NAME = re.compile(r"[a-z0-9-]{1,48}")
MAX_GROUPS = 32
Nested = Mapping[str, list[str]]
"""As `PolicyState.nested`."""


@dataclass(frozen=True, slots=True)
class Declared:
    """A group, and the groups of its kind that it is in; None: as before."""

    kind: str
    name: str
    within: tuple[str, ...] | None = None


class Resources:
    """Declared resources and groups."""

    def __init__(self, store: Store, versions: Versions, changed: Callable[[], Awaitable[None]]) -> None:
        self._store, self._versions, self._changed = store, versions, changed

    async def apply(
        self, resources: Sequence[ResourceRow], groups: Sequence[Declared], *, dry_run: bool
    ) -> tuple[int, int, int]:
        """(created, changed, unchanged). Every node and every group named must exist or be in the same call."""
        existing = {stored.key: stored for stored in await rows.every(self._store, ResourceRow, "resource/")}
        known, _ = await self._store.list("group/")
        put = {self._group(one): b"{}" for one in groups}
        named = {item.key for item in known} | put.keys()
        put = {key: value for key, value in put.items() if key not in {item.key for item in known}}
        created = changed = unchanged = 0
        expect: dict[str, int] = {}
        state = await rows.policy_state(self._store)
        nested = _nested(state.row.nested, groups, named)
        if nested != state.row.nested:
            expect, changed = {rows.POLICY: state.revision}, _differing(nested, state.row.nested)
            put[rows.POLICY] = await self._regrouped(state, nested)
        for row in resources:
            await self._check(row, named)
            before = existing.get(rows.resource_key(row))
            if before is not None and before.row == row:
                unchanged += 1
                continue
            created, changed = created + (before is None), changed + (before is not None)
            put[rows.resource_key(row)] = model.dump(row)
        if len(put) + 1 > MAX_OPERATIONS:
            raise InvalidError(f"at most {MAX_OPERATIONS - 1} changes in one call")
        if put and not dry_run:
            await self._store.commit(expect=expect, put={**put, rows.MESH: b"{}"})
            await self._changed()
        return created, changed, unchanged

    async def all(self, node: str = "", site: str = "") -> list[ResourceRow]:
        prefix = f"resource/{site}/{node}/" if node else "resource/"
        return [stored.row for stored in await rows.every(self._store, ResourceRow, prefix)]

    async def groups(self) -> list[Declared]:
        items, _ = await self._store.list("group/")
        nested = (await rows.policy_state(self._store)).row.nested
        found = (item.key.split("/")[1:3] for item in items)
        return [Declared(kind, name, tuple(nested.get(f"{kind}/{name}", ()))) for kind, name in found]

    def _group(self, one: Declared) -> str:
        if one.kind not in hierarchy.KINDS or not GROUP_NAME.fullmatch(one.name):
            raise InvalidError(
                f"`{one.kind[:32]}::{one.name[:64]}` is no group",
                hint="kinds: " + ", ".join(sorted(hierarchy.KINDS)),
            )
        return rows.group_key(one.kind, one.name)

    async def _regrouped(self, state: Stored[PolicyState], nested: Nested) -> bytes:
        """What is stored instead: no circle, within bounds, and every policy that counts can be enforced."""
        new = replace(state.row, nested=dict(nested))
        try:
            groups = hierarchy.read(rows.nested(new))
        except InputError as exc:
            raise InvalidError(str(exc)) from exc
        sites = {stored.row.name for stored in await rows.every(self._store, SiteRow, "site/")}
        await self._versions.fit(new, sites, groups)
        return model.dump(new)

    async def _check(self, row: ResourceRow, named: set[str]) -> None:
        what = f"resource `{row.name[:64]}`"
        if row.kind not in RESOURCE_KINDS or not NAME.fullmatch(row.name):
            raise InvalidError(
                f"{what}: kind must be one of {', '.join(RESOURCE_KINDS)}, name `[A-Za-z0-9._:/-]{{1,128}}`"
            )
        if not 0 < row.port < 65536 or not 0 <= row.max_class <= CLASS_MAX or len(row.owner) > 64:  # noqa: PLR2004
            raise InvalidError(f"{what}: port 1 to 65535, max_class 0 to {CLASS_MAX}, owner to 64 characters")
        if len(row.groups) > MAX_GROUPS:
            raise InvalidError(f"{what}: at most {MAX_GROUPS} groups")
        for name in row.groups:
            if rows.group_key(f"{row.kind}Group", name) not in named:
                hint = "declare it under `groups` in the same file"
                raise NotFoundError(f"{what}: there is no {row.kind}Group `{name[:64]}`", hint=hint)
        await rows.read(
            self._store, NodeRow, rows.node_key(row.node, row.site), f"node `{row.node}.{row.site}`"
        )


def _nested(before: Nested, groups: Sequence[Declared], named: set[str]) -> Nested:
    """What is in what, once these are declared; every group that one is put into must exist."""
    nested = dict(before)
    told: dict[str, tuple[str, ...]] = {}
    for one in groups:
        if one.within is None:
            continue
        group = f"{one.kind}/{one.name}"
        if told.setdefault(group, one.within) != one.within:
            raise InvalidError(f"{one.kind} `{one.name}` is declared twice, in different groups")
        for name in one.within:
            if rows.group_key(one.kind, name) not in named:
                hint = "declare it under `groups` in the same file"
                raise NotFoundError(
                    f"{one.kind} `{one.name}`: there is no {one.kind} `{name[:64]}`", hint=hint
                )
        nested[group] = sorted(set(one.within))
    return {group: names for group, names in sorted(nested.items()) if names}


def _differing(one: Nested, other: Nested) -> int:
    return sum(one.get(group) != other.get(group) for group in {*one, *other})
