"""Calls that wait for a second operator: kept exactly as they were asked for, decided once, forgotten after a while.

1. What is done is what was recorded, byte for byte; its hash is compared again before it is.
2. An approval is decided once: whoever decides first takes it in a compare-and-set, and only then is anything done.
3. Nobody decides for what he asked himself, and nothing is approved after a day.
4. The setting needs two who govern, else it could never be switched off again.
"""

import base64
import dataclasses
import hashlib
import secrets
import time
import zlib
from collections.abc import Callable

from controlplane import model
from controlplane.errors import (
    BusyError,
    CorruptError,
    DeniedError,
    InvalidError,
    NotFoundError,
    PreconditionError,
)
from controlplane.operator_rows import ApprovalRow, ApprovalSetting, OperatorRow
from controlplane.services import rows
from controlplane.services.admin import grants
from controlplane.services.admin.grants import Grant
from controlplane.services.rows import Stored
from controlplane.store.base import Store

LIFETIME_S = 86_400
KEPT_S = 7 * 86_400  # how long a decided or expired one can be looked up; the evidence log has it for ever
MAX_WAITING = 200
MAX_STORED = 900_000
MAX_REQUEST = 4 << 20
WAITING, DONE, REJECTED, EXPIRED = "waiting", "done", "rejected", "expired"


class Approvals:
    """All state is in the store: any replica decides."""

    def __init__(
        self, store: Store, *, also_by_token: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        """`also_by_token`: an issuer vouches for operators, too, whom the store does not list."""
        self._store, self._also_by_token, self._clock = store, also_by_token, clock

    async def required(self) -> bool:
        found = await rows.find(self._store, ApprovalSetting, rows.APPROVAL_SETTING)
        return found is not None and found.row.required

    async def set_required(self, wanted: bool) -> None:
        if wanted and not self._also_by_token and await self._governing() < 2:  # noqa: PLR2004 - (4)
            raise PreconditionError(
                "nobody could approve: there is one administrator", hint="writ operator add"
            )
        found = await rows.find(self._store, ApprovalSetting, rows.APPROVAL_SETTING)
        expect = {rows.APPROVAL_SETTING: found.revision if found else 0}
        put = {rows.APPROVAL_SETTING: model.dump(ApprovalSetting(required=wanted))}
        await self._store.commit(expect=expect, put=put)

    async def ask(self, by: Grant, method: str, target: str, request: bytes) -> ApprovalRow:
        """Keep a call until somebody decides. The same call of the same operator waits once."""
        now, digest = int(self._clock()), hashlib.sha256(request).hexdigest()
        known = await self.all()
        for stored in known:
            row = stored.row
            if (row.by, row.method, row.arguments, self.state(row)) == (by.name, method, digest, WAITING):
                return row
        if sum(self.state(stored.row) == WAITING for stored in known) >= MAX_WAITING:
            raise BusyError("too many calls wait for approval", hint="writ approve list")
        kept = base64.b64encode(zlib.compress(request)).decode()
        if len(kept) > MAX_STORED:
            raise InvalidError("the request is too large to wait for approval")
        row = ApprovalRow(
            id=secrets.token_hex(4),
            method=method,
            request=kept,
            target=target,
            arguments=digest,
            by=by.name,
            role=by.role,
            sites=sorted(by.sites),
            asked_at=now,
            expires_at=now + LIFETIME_S,
        )
        old = [stored.key for stored in known if stored.row.expires_at + KEPT_S < now][:50]
        key = rows.approval_key(row.id)
        await self._store.commit(expect={key: 0}, put={key: model.dump(row)}, delete=old)
        return row

    async def get(self, id_: str) -> Stored[ApprovalRow]:
        found = await rows.find(self._store, ApprovalRow, rows.approval_key(id_[:64] or "-"))
        if found is None:
            raise NotFoundError(f"there is no approval `{id_[:64]}`", hint="writ approve list")
        return found

    async def all(self) -> list[Stored[ApprovalRow]]:
        return await rows.every(self._store, ApprovalRow, rows.APPROVALS)

    async def decide(self, stored: Stored[ApprovalRow], by: Grant, verdict: str) -> ApprovalRow:
        """(2), (3): DONE or REJECTED, once."""
        row, state = stored.row, self.state(stored.row)
        if verdict == DONE and row.by == by.name:
            raise DeniedError("nobody approves what he asked for himself", hint="another operator does")
        if state != WAITING:
            raise PreconditionError(f"approval `{row.id}` is {state}", hint="writ approve list")
        decided = dataclasses.replace(row, state=verdict, decided_by=by.name)
        await self._store.commit(expect={stored.key: stored.revision}, put={stored.key: model.dump(decided)})
        return decided

    def state(self, row: ApprovalRow) -> str:
        return EXPIRED if row.state == WAITING and self._clock() >= row.expires_at else row.state

    async def asker(self, row: ApprovalRow) -> Grant:
        """Who asked, as he is now; by token, as he was: his groups are not known while he is away."""
        if row.by.startswith("oidc:"):
            role, sites = row.role, row.sites
        else:
            found = await rows.find(self._store, OperatorRow, rows.operator_key(row.by))
            if found is None:
                raise DeniedError(f"`{row.by}`, who asked for it, is no operator any more")
            role, sites = found.row.role, found.row.sites
        return Grant(name=row.by, role=role, sites=frozenset(sites), credential=f"approval {row.id}")

    async def _governing(self) -> int:
        found = await rows.every(self._store, OperatorRow, rows.OPERATORS)
        return sum(one.row.role == grants.ADMIN and not one.row.sites for one in found)


def request_of(row: ApprovalRow) -> bytes:
    """(1) The message as it was asked for; CorruptError when the store gives back another."""
    try:
        unpacking = zlib.decompressobj()
        request = unpacking.decompress(base64.b64decode(row.request, validate=True), MAX_REQUEST)
    except (ValueError, zlib.error) as exc:
        raise CorruptError(f"approval `{row.id}` is malformed") from exc
    if unpacking.unconsumed_tail or hashlib.sha256(request).hexdigest() != row.arguments:
        raise CorruptError(f"approval `{row.id}` is not what was asked for")
    return request
