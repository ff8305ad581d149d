"""How the store is, looked at now and then: what is shown must not wait for a member that does not answer."""

import asyncio

import structlog

from controlplane.errors import ControlPlaneError
from controlplane.store.base import Health, Store

log = structlog.get_logger()
LOOK_S = 5.0


class Pulse:
    """`last` is None until the first look."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.last: Health | None = None

    async def look(self) -> None:
        try:
            self.last = await self._store.health()
        except (ControlPlaneError, OSError) as exc:
            log.info("store_not_examined", reason=str(exc))

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()
