"""The keys that sign JWT-SVIDs: prepare, activate, retire. Each replica has its own, which never leave its signer.

A prepared key is published and signs nothing; it is activated once every connected agent knows it, so that no token is
refused by one that has not heard of its key yet. What signed before stays believed (old) until it is retired.
"""

import dataclasses
import time
from collections.abc import Awaitable, Callable

from certs import bundle, keys
from controlplane import model
from controlplane.authority_rows import JwtKeyRow
from controlplane.errors import ConflictError, NotFoundError, PreconditionError, UnavailableError
from controlplane.services import rows
from controlplane.services.authority import key_names
from controlplane.services.authority.acknowledged import Acknowledged
from controlplane.services.authority.authorities import Authorities
from controlplane.services.push.hub import Hub
from controlplane.services.rows import Stored
from controlplane.store.base import Store

PREPARED, ACTIVE, OLD = "prepared", "active", "old"
MAX_KEYS = 8  # of one replica


class JwtAuthorities:
    """One row per key. A replica signs with the newest active key that is its own."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        replica: str,
        hub: Hub,
        *,
        linked: Callable[[], bool],
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`linked`: whether `hub` hears of the agents of every replica."""
        self._store, self._made, self._replica, self._clock = store, made, replica, clock
        self._acknowledged, self._changed = Acknowledged(hub, linked), changed

    async def ensure(self) -> None:
        """The first key of this replica, active at once: it signs nothing before the replica's CAs may be used either."""
        if not await self._ours():
            await self._add(ACTIVE)

    async def ours(self) -> list[JwtKeyRow]:
        return [stored.row for stored in await self._ours()]

    async def all(self) -> list[JwtKeyRow]:
        return [stored.row for stored in await self._all()]

    async def signing_key(self) -> JwtKeyRow:
        for stored in sorted(await self._ours(), key=lambda one: one.revision, reverse=True):
            if stored.row.state == ACTIVE and self._held(stored.row):
                return stored.row
        raise UnavailableError("no JWT key is active here", hint="writ authority activate")

    async def prepare(self) -> JwtKeyRow:
        """A new key of this replica, published to all."""
        if len(await self._ours()) >= MAX_KEYS:
            raise PreconditionError(
                f"`{self._replica}` has `{MAX_KEYS}` JWT keys already", hint="writ authority retire"
            )
        return await self._add(PREPARED)

    async def activate(self, key_id: str, *, force: bool) -> JwtKeyRow:
        """Its replica signs with this key from now on. PreconditionError names the agents that do not know it yet."""
        chosen = await self._find(key_id)
        if chosen.row.state != PREPARED:
            raise PreconditionError(f"key `{key_id}` is {chosen.row.state}, not prepared")
        behind = self._acknowledged.behind(chosen.revision)
        if behind and not force:
            hint = "wait, or --force: what the new key signs is refused there until they have heard of it"
            raise PreconditionError(f"not known yet to {', '.join(behind[:8])}", hint=hint)
        before = [one for one in await self._of(chosen.row.replica) if one.row.state == ACTIVE]
        await self._write((chosen, ACTIVE), *((one, OLD) for one in before))
        return (await self._find(key_id)).row

    async def retire(self, key_id: str, *, force: bool) -> JwtKeyRow:
        """Believe this key no more, anywhere. An active one only by force: what it signed dies at once."""
        chosen = await self._find(key_id)
        if chosen.row.state == ACTIVE and not force:
            hint = "prepare and activate another first, or --force"
            raise PreconditionError(f"key `{key_id}` is active", hint=hint)
        await self._store.commit(
            expect={chosen.key: chosen.revision}, put={rows.MESH: b"{}"}, delete=[chosen.key]
        )
        await self._changed()
        return chosen.row

    async def _add(self, state: str) -> JwtKeyRow:
        name = await key_names.following(self._store, self._made.signer, "jwt-")
        public = keys.spki(self._made.signer.create(name, "p256"))
        row = JwtKeyRow(
            key_id=bundle.key_id(bundle.public_key(public)),
            replica=self._replica,
            key_name=name,
            public=public.hex(),
            state=state,
            since=int(self._clock()),
        )
        key = rows.jwt_authority_key(row.key_id)
        used = key_names.marks(self._made.signer, (name,))
        put = {key: model.dump(row), rows.MESH: b"{}", **used}
        await self._store.commit(expect={key: 0, **dict.fromkeys(used, 0)}, put=put)
        await self._changed()
        return row

    async def _write(self, *changes: tuple[Stored[JwtKeyRow], str]) -> None:
        put = {
            stored.key: model.dump(dataclasses.replace(stored.row, state=state, since=int(self._clock())))
            for stored, state in changes
        }
        expect = {stored.key: stored.revision for stored, _ in changes}
        try:
            await self._store.commit(expect=expect, put=put)
        except ConflictError as exc:
            raise ConflictError("the JWT keys were changed meanwhile", hint="writ authority list") from exc

    def _held(self, row: JwtKeyRow) -> bool:
        try:
            return keys.spki(self._made.signer.public_key(row.key_name)).hex() == row.public
        except NotFoundError:
            return False  # lost, or of another machine under our name

    async def _find(self, key_id: str) -> Stored[JwtKeyRow]:
        return await rows.read(
            self._store, JwtKeyRow, rows.jwt_authority_key(key_id), f"JWT key `{key_id[:64]}`"
        )

    async def _ours(self) -> list[Stored[JwtKeyRow]]:
        return await self._of(self._replica)

    async def _of(self, replica: str) -> list[Stored[JwtKeyRow]]:
        return [stored for stored in await self._all() if stored.row.replica == replica]

    async def _all(self) -> list[Stored[JwtKeyRow]]:
        return await rows.every(self._store, JwtKeyRow, rows.JWT_AUTHORITIES)
