"""What leaves the trust document by time alone, whosever it is: CAs that have ended, and the tainted once all is replaced.

A replica that is gone rotates nothing, so the holder of the housekeeping duty does this for everybody.
"""

import time
from collections.abc import Awaitable, Callable

import structlog

from certs.profile import CaKind
from controlplane.authority_rows import CaRow, JwtKeyRow, RevokedCaRow
from controlplane.services import rows
from controlplane.services.authority import ca_rows, revoked_cas, tainting
from controlplane.services.duty import Duty
from controlplane.services.rows import Stored
from controlplane.store.base import MAX_OPERATIONS, Store

log = structlog.get_logger()
TOGETHER = MAX_OPERATIONS // 2
JWT_REISSUE_S = 600  # tokens live five minutes


class Endings:
    """One look; call it every few seconds."""

    def __init__(
        self,
        store: Store,
        changed: Callable[[], Awaitable[None]],
        *,
        svid_lifetime_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._changed, self._clock = store, changed, clock
        self._within_s = ca_rows.reissue_within_s(svid_lifetime_s)

    async def once(self, duty: Duty) -> None:
        now = int(self._clock())
        cas = await rows.every(self._store, CaRow, rows.CA_AUTHORITIES)
        for ca in cas:
            if 0 < ca_rows.not_after(ca.row) <= now:
                await self._drop(duty, ca, why="ended")
            elif ca.row.state == ca_rows.TAINTED and await self._is_replaced(ca.row, now):
                await self._drop(duty, ca, why="replaced")
        await self._forget_revoked(duty, now)
        alive = {ca.row.replica for ca in cas}
        for key in await rows.every(self._store, JwtKeyRow, rows.JWT_AUTHORITIES):
            if key.row.replica not in alive:
                await self._drop(duty, key, why="its replica has no CA any more")
            elif key.row.state == ca_rows.TAINTED and now >= key.row.since + JWT_REISSUE_S:
                await self._drop(duty, key, why="replaced")

    async def _is_replaced(self, row: CaRow, now: int) -> bool:
        """Nodes are counted. Others are not: agents that were away fetch anew as soon as it has left the trust document.

        Not before twice the time that agents have: an answer may have been lost, and is asked for again with the old one.
        """
        if now < row.since + 2 * self._within_s:
            return False
        return row.kind != CaKind.NODE.value or not await tainting.holders(self._store, row, now)

    async def _forget_revoked(self, duty: Duty, now: int) -> None:
        """CAs that were taken out and have ended by now: nobody believes them, listed or not."""
        found = await rows.every(self._store, RevokedCaRow, rows.REVOKED_CAS)
        ended = [one.key for one in found if one.row.not_after <= now][:TOGETHER]
        if ended:
            await duty.commit(expect={}, put={}, delete=ended)

    async def _drop(self, duty: Duty, stored: Stored[CaRow] | Stored[JwtKeyRow], *, why: str) -> None:
        noted = revoked_cas.noted(stored.row, int(self._clock()))
        await duty.commit(
            expect={stored.key: stored.revision}, put={rows.MESH: b"{}", **noted}, delete=[stored.key]
        )
        log.warning("authority_dropped", key_id=stored.row.key_id, replica=stored.row.replica, why=why)
        await self._changed()
