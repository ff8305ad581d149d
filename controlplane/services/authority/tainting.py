"""A key that may be stolen: nothing more is signed with it, all that it signed is replaced, then it is believed no more.

1. Tainted is for good: no call leads back, and agents accept no trust document older than the one that they hold.
2. Until everything is replaced it stays believed, and so does what a thief signs: with `now` it leaves the trust document
   at once, and whoever still has a certificate by it must enrol again.
3. Agents replace what it signed at random moments, so that they do not come all at once (`rpc.sync_api`).
"""

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from certs.profile import CaKind
from controlplane import model
from controlplane.authority_rows import CaRow, JwtKeyRow
from controlplane.errors import PreconditionError
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.services.authority import revoked_cas
from controlplane.services.authority.ca_rows import ACTIVE, PREPARED, REQUESTED, TAINTED
from controlplane.services.authority.lifecycle import Lifecycle, Row
from controlplane.services.rows import Stored
from controlplane.store.base import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What tainting an authority does. `nodes` hold certificates by it; `breaks` says what no renewal heals."""

    authority: Row
    nodes: tuple[str, ...]
    breaks: tuple[str, ...]


class Tainting:
    """Taints; `services.endings` takes the tainted out once all is replaced."""

    def __init__(
        self,
        store: Store,
        lifecycle: Lifecycle,
        *,
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._store, self._lifecycle, self._changed, self._clock = store, lifecycle, changed, clock

    async def taint(self, key_id: str, *, now: bool, dry_run: bool) -> Effect:
        """PreconditionError when nobody could issue instead, unless `now`: then that is said, and done."""
        stored = await self._find(key_id)
        effect = await self._effect(stored, now=now)
        if dry_run:
            return effect
        if not now:
            await self._check_another_can(stored.row)
        if now or stored.row.state in {REQUESTED, PREPARED}:  # the latter have signed nothing
            noted = revoked_cas.noted(stored.row, int(self._clock()), revoked_cas.COMPROMISED)
            await self._store.commit(
                expect={stored.key: stored.revision}, put={rows.MESH: b"{}", **noted}, delete=[stored.key]
            )
        elif stored.row.state != TAINTED:
            row = dataclasses.replace(stored.row, state=TAINTED, since=int(self._clock()))
            await self._store.commit(
                expect={stored.key: stored.revision}, put={stored.key: model.dump(row), rows.MESH: b"{}"}
            )
            effect = dataclasses.replace(effect, authority=row)
        await self._changed()
        return effect

    async def _effect(self, stored: Stored[CaRow] | Stored[JwtKeyRow], *, now: bool) -> Effect:
        row = stored.row
        nodes: tuple[str, ...] = ()
        breaks: list[str] = []
        if isinstance(row, JwtKeyRow):
            if now:
                breaks.append("JWT-SVIDs that it signed are refused until their workloads fetch others")
        else:
            nodes = await holders(self._store, row, int(self._clock()))
            breaks = _breaks(row, nodes, now=now)
        if row.state == ACTIVE and not await self._others(row):
            breaks.append("no other authority of this kind is active: nothing is issued until one is")
        return Effect(authority=row, nodes=nodes, breaks=tuple(breaks))

    async def _check_another_can(self, row: Row) -> None:
        """Where the root is, another is made at once; else one must be there."""
        if isinstance(row, JwtKeyRow) or row.state != ACTIVE or self._lifecycle.cas.root_is_here:
            return
        if not await self._others(row, PREPARED, ACTIVE):
            hint = "writ authority prepare --csr FILE first, or --now"
            raise PreconditionError(f"no CA could issue instead of `{row.key_id}`", hint=hint)

    async def _others(self, row: Row, *states: str) -> list[Row]:
        """Authorities of the same kind that could do its work."""
        return [
            one
            for one in await self._lifecycle.all()
            if type(one) is type(row)
            and getattr(one, "kind", "") == getattr(row, "kind", "")
            and one.key_id != row.key_id
            and one.state in (states or (ACTIVE,))
        ]

    async def _find(self, key_id: str) -> Stored[CaRow] | Stored[JwtKeyRow]:
        found = await rows.find(self._store, CaRow, rows.ca_authority_key(key_id[:64]))
        if found is not None:
            return found
        key = rows.jwt_authority_key(key_id[:64])
        return await rows.read(self._store, JwtKeyRow, key, f"authority `{key_id[:64]}`")


async def holders(store: Store, ca: CaRow, now: int) -> tuple[str, ...]:
    """`<node>.<site>` of all that hold a living certificate by this CA, the quarantined too: they renew like others."""
    if ca.kind != CaKind.NODE.value:
        return ()
    nodes = await rows.every(store, NodeRow, "node/")
    return tuple(
        one.row.short
        for one in nodes
        if one.row.issuer == ca.key_name and one.row.state in model.HEARD and one.row.not_after > now
    )


def _breaks(row: CaRow, nodes: Sequence[str], *, now: bool) -> list[str]:
    if row.state in {REQUESTED, PREPARED}:
        return []
    if row.kind == CaKind.CONTROL_PLANE.value:
        return [f"operators whose certificates `{row.replica}` signed need others"]
    if now and row.kind == CaKind.NODE.value and nodes:
        return [f"`{len(nodes)}` nodes are refused at once and must enrol again, with new tokens"]
    if now and row.kind == CaKind.WORKLOAD.value:
        return ["workloads with its certificates have none until their agents have fetched others"]
    return []
