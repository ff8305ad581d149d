"""Fetching the bundles of other trust domains, by the one replica that holds the duty.

1. At the refresh hint of the bundle that is held, within bounds; after a failure as late: an endpoint is never hammered.
2. An endpoint is verified with the bundle that is newest when it is asked, so that roots may change without us being told.
3. What is older, changed without a new number, malformed or too large changes nothing but the reason that is shown.
4. Written only while the relationship is the one that was asked for and the duty is ours: what was removed stays removed.
"""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import Awaitable, Callable

import structlog

from certs import federation
from certs.bundle import TrustBundle
from certs.errors import CertError
from certs.federation import HTTPS_SPIFFE, Relationship
from controlplane import model
from controlplane.errors import ConflictError, ControlPlaneError, UnavailableError
from controlplane.model import FederationRow, ForeignBundleRow, PolledRow
from controlplane.services import rows
from controlplane.services.duty import Duty
from controlplane.services.federation.relationships import put_bundle, read_bundle, relationship
from controlplane.services.rows import Stored
from controlplane.store.base import Store

log = structlog.get_logger()
DUTY = "federation"
ROUND_S, LEAST_S = 5.0, 0.2
MAX_ERROR = 300
Fetch = Callable[[Relationship, tuple[bytes, ...]], Awaitable[bytes]]
"""Whom to ask, and the roots (DER) that an `https_spiffe` endpoint is verified with -> a document. UnavailableError."""


class Polling:
    """Runs beside the calls of one replica. `changed` signs and pushes what follows."""

    def __init__(
        self,
        store: Store,
        duty: Duty,
        fetch: Fetch,
        *,
        ours: Callable[[], TrustBundle],
        changed: Callable[[], Awaitable[None]],
        least_s: int,
    ) -> None:
        self._store, self._duty, self._fetch = store, duty, fetch
        self._ours, self._changed, self._least_s = ours, changed, least_s
        self._due: dict[tuple[str, int], float] = {}  # trust domain and revision of its relationship
        self._wanted = asyncio.Event()

    def soon(self) -> None:
        """Look at once for relationships that are new."""
        self._wanted.set()

    async def run(self) -> None:
        while True:
            try:
                await self.once()
            except ControlPlaneError as exc:
                log.info("polling_paused", reason=str(exc))
            soonest = min(self._due.values(), default=0.0) - time.monotonic()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(max(soonest, LEAST_S), ROUND_S) if self._due else ROUND_S):
                    await self._wanted.wait()
            self._wanted.clear()

    async def once(self) -> None:
        """Ask all that are due, at the same time: a slow endpoint delays no other."""
        found = await rows.every(self._store, FederationRow, rows.FEDERATIONS)
        if not found or not await self._duty.hold():
            self._due.clear()
            return
        known = {_name(stored) for stored in found}
        self._due = {name: at for name, at in self._due.items() if name in known}
        now = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            for stored in found:
                if self._due.get(_name(stored), 0) <= now:
                    tasks.create_task(self._ask(stored))

    async def _ask(self, stored: Stored[FederationRow]) -> None:
        try:
            await self._poll(stored)
        except ControlPlaneError as exc:  # the store: the others are asked all the same
            log.warning("bundle_not_fetched", trust_domain=stored.row.trust_domain, reason=str(exc))

    async def _poll(self, stored: Stored[FederationRow]) -> None:
        name = stored.row.trust_domain
        held = await rows.find(self._store, ForeignBundleRow, rows.foreign_bundle_key(name))
        before = read_bundle(held.row) if held else TrustBundle(trust_domain=name)
        hint_s, error = before.refresh_hint_s, ""
        try:
            document = await self._fetch(relationship(stored.row), await self._roots(stored.row))
            offered = federation.read(document, name)
            federation.check_newer(offered, before)
            hint_s = offered.refresh_hint_s
            if held is None or document != held.row.document.encode():
                await self._keep(stored, held, document)
        except (CertError, ControlPlaneError) as exc:
            error = str(exc)[:MAX_ERROR]
            log.warning("bundle_not_fetched", trust_domain=name, reason=error)
        self._due[_name(stored)] = time.monotonic() + federation.poll_after_s(hint_s, self._least_s)
        await self._note(stored, error)

    async def _roots(self, row: FederationRow) -> tuple[bytes, ...]:
        """What verifies the endpoint: the newest bundle of the trust domain of its SPIFFE ID, and no other."""
        if row.profile != HTTPS_SPIFFE:
            return ()
        vouching, ours = relationship(row).vouching, self._ours()
        if vouching == ours.trust_domain:
            return ours.roots
        held = await rows.find(self._store, ForeignBundleRow, rows.foreign_bundle_key(vouching))
        if held is None:
            raise UnavailableError(
                f"nothing verifies `{row.endpoint_id}`: there is no bundle of `{vouching}`"
            )
        return read_bundle(held.row).roots

    async def _keep(
        self, stored: Stored[FederationRow], held: Stored[ForeignBundleRow] | None, document: bytes
    ) -> None:
        name = stored.row.trust_domain
        key = rows.foreign_bundle_key(name)
        expect = {stored.key: stored.revision, key: held.revision if held else 0}
        await self._duty.commit(expect=expect, put=put_bundle(name, document, int(time.time())))
        log.info("bundle_fetched", trust_domain=name, bytes=len(document))
        await self._changed()

    async def _note(self, stored: Stored[FederationRow], error: str) -> None:
        key = rows.polled_key(stored.row.trust_domain)
        found = await rows.find(self._store, PolledRow, key)
        before, now = found.row if found else PolledRow(), int(time.time())
        row = dataclasses.replace(before, error=error, failed_at=now) if error else PolledRow(answered_at=now)
        with contextlib.suppress(ConflictError):  # removed, or somebody else asks now
            await self._duty.commit(expect={stored.key: stored.revision}, put={key: model.dump(row)})


def _name(stored: Stored[FederationRow]) -> tuple[str, int]:
    return stored.row.trust_domain, stored.revision
