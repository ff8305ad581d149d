"""Work that only one replica does at a time.

1. Who works is a row in the store, the duty. Another takes it over when it has not moved for `TAKE_OVER_S` by its own
   clock: clocks need not agree.
2. The row's revision is the epoch. Every commit of the work compares it in the same transaction, so that a holder that
   was paused, and comes back, writes nothing.
"""

import time
from collections.abc import Callable, Mapping, Sequence

import structlog

from controlplane import model
from controlplane.errors import ConflictError
from controlplane.model import DutyRow
from controlplane.services import rows
from controlplane.store.base import Store

log = structlog.get_logger()
TAKE_OVER_S = 20.0


class Duty:
    """One duty, as one replica sees it."""

    def __init__(
        self, store: Store, name: str, holder: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store, self._key, self._holder, self._clock = store, rows.duty_key(name), holder, clock
        self._seen = (-1, 0.0)  # revision, and when it was first seen
        self.epoch = self.done = 0
        """`done`: up to which hour expired certificates are forgotten."""

    async def hold(self) -> bool:
        """Take it, keep it, or see that somebody else has it."""
        found = await rows.find(self._store, DutyRow, self._key)
        now = self._clock()
        if found is None:
            return await self._write(1, 0)
        if found.row.holder == self._holder and found.revision == self.epoch:
            return await self._write(found.row.count + 1, found.revision)
        self.epoch, self.done = 0, found.row.done
        if self._seen[0] != found.revision:
            self._seen = (found.revision, now)
        if now - self._seen[1] < TAKE_OVER_S:
            return False
        log.info("duty_taken_over", before=found.row.holder)
        return await self._write(found.row.count + 1, found.revision)

    async def commit(
        self, *, expect: Mapping[str, int], put: Mapping[str, bytes], delete: Sequence[str] = ()
    ) -> int:
        """A commit that fails with ConflictError once somebody else has taken over."""
        return await self._store.commit(expect={**expect, self._key: self.epoch}, put=put, delete=delete)

    async def _write(self, count: int, before: int) -> bool:
        row = DutyRow(holder=self._holder, count=count, done=self.done)
        try:
            self.epoch = await self._store.commit(
                expect={self._key: before}, put={self._key: model.dump(row)}
            )
        except ConflictError:
            self.epoch = 0
            return False
        return True
