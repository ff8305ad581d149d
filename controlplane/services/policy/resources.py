"""What nodes serve, and the groups policies name. All of a call is applied, or nothing."""

import re
from collections.abc import Awaitable, Callable, Sequence

from controlplane import model
from controlplane.errors import InvalidError, NotFoundError
from controlplane.model import NodeRow, ResourceRow
from controlplane.services import rows
from controlplane.store.base import MAX_OPERATIONS, Store
from policies.grammar import RESOURCE_NAME as NAME
from policies.model import CLASS_MAX, RESOURCE_KINDS

GROUP_NAME = re.compile(r"[a-z0-9-]{1,48}")
GROUP_KINDS = {"Group", *(f"{kind}Group" for kind in RESOURCE_KINDS)}
MAX_GROUPS = 32


class Resources:
    """Declared resources and groups."""

    def __init__(self, store: Store, changed: Callable[[], Awaitable[None]]) -> None:
        self._store, self._changed = store, changed

    async def apply(
        self, resources: Sequence[ResourceRow], groups: Sequence[tuple[str, str]], *, dry_run: bool
    ) -> tuple[int, int, int]:
        """(created, changed, unchanged). Every node and every group named must exist or be in the same call."""
        existing = {stored.key: stored for stored in await rows.every(self._store, ResourceRow, "resource/")}
        known, _ = await self._store.list("group/")
        named = {item.key for item in known} | {self._group(kind, name) for kind, name in groups}
        put = {self._group(kind, name): b"{}" for kind, name in groups}
        put = {key: value for key, value in put.items() if key not in {item.key for item in known}}
        created = changed = unchanged = 0
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
            await self._store.commit(expect={}, put={**put, rows.MESH: b"{}"})
            await self._changed()
        return created, changed, unchanged

    async def all(self, node: str = "", site: str = "") -> list[ResourceRow]:
        prefix = f"resource/{site}/{node}/" if node else "resource/"
        return [stored.row for stored in await rows.every(self._store, ResourceRow, prefix)]

    async def groups(self) -> list[tuple[str, str]]:
        items, _ = await self._store.list("group/")
        return [(kind, name) for kind, name in (item.key.split("/")[1:3] for item in items)]

    def _group(self, kind: str, name: str) -> str:
        if kind not in GROUP_KINDS or not GROUP_NAME.fullmatch(name):
            raise InvalidError(
                f"`{kind[:32]}::{name[:64]}` is no group", hint="kinds: " + ", ".join(sorted(GROUP_KINDS))
            )
        return rows.group_key(kind, name)

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
