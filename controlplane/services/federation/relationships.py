"""Relationships with other trust domains: whom we federate with, and the newest bundle of each.

1. Bundles are kept by trust domain and never merged; none is kept under our own name.
2. A bundle from an operator replaces what is held, whatever its number: it is how a relationship begins, and begins anew.
3. Removing a relationship removes its bundle in the same commit: no workload is given it from the next document on.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from certs import federation
from certs.bundle import TrustBundle
from certs.errors import CertError
from certs.federation import HTTPS_SPIFFE, Relationship
from controlplane import model
from controlplane.errors import ConflictError, ExistsError, InvalidError, PreconditionError
from controlplane.model import FederationRow, ForeignBundleRow, PolledRow
from controlplane.services import rows
from controlplane.services.rows import Stored
from controlplane.store.base import Store

log = structlog.get_logger()
MAX_RELATIONSHIPS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Federated:
    """A relationship with all that is known of it."""

    relationship: Relationship
    bundle: ForeignBundleRow | None
    polled: PolledRow


class Federation:
    """What operators do about relationships. `changed` signs and pushes what follows, `poll` fetches at once."""

    def __init__(
        self,
        store: Store,
        trust_domain: str,
        *,
        changed: Callable[[], Awaitable[None]],
        poll: Callable[[], None],
        clock: Callable[[], int],
    ) -> None:
        self._store, self._ours = store, trust_domain
        self._changed, self._poll, self._clock = changed, poll, clock

    async def add(self, wanted: Relationship, document: bytes, *, replace: bool) -> Federated:
        """Begin a relationship, with a bundle if there is one; ExistsError when there is another and it must stay."""
        try:
            federation.check(wanted, self._ours)
            if document:
                federation.read(document, wanted.trust_domain)
        except CertError as exc:
            raise InvalidError(str(exc)) from exc
        before = await find(self._store, wanted.trust_domain)
        if before is not None and relationship(before.row) != wanted and not replace:
            hint = "--replace puts the new one in its place; the bundle that is held stays"
            raise ExistsError(f"there is another federation with `{wanted.trust_domain}`", hint=hint)
        await self._check_can_begin(wanted, document, before)
        await self._write(wanted, document, before)
        self._poll()
        return await self.get(wanted.trust_domain)

    async def _check_can_begin(
        self, wanted: Relationship, document: bytes, before: Stored[FederationRow] | None
    ) -> None:
        known = await rows.every(self._store, FederationRow, rows.FEDERATIONS)
        if before is None and len(known) >= MAX_RELATIONSHIPS:
            raise PreconditionError(f"there are `{MAX_RELATIONSHIPS}` federations already")
        if wanted.profile != HTTPS_SPIFFE or wanted.vouching == self._ours:
            return
        if document and wanted.vouching == wanted.trust_domain:
            return
        if await rows.find(self._store, ForeignBundleRow, rows.foreign_bundle_key(wanted.vouching)) is None:
            hint = "--bundle FILE, with what `writ bundle show` or its like prints there"
            raise PreconditionError(f"nothing verifies `{wanted.endpoint_id}` yet", hint=hint)

    async def _write(
        self, wanted: Relationship, document: bytes, before: Stored[FederationRow] | None
    ) -> None:
        key = rows.federation_key(wanted.trust_domain)
        row = FederationRow(
            trust_domain=wanted.trust_domain,
            url=wanted.url,
            profile=wanted.profile,
            endpoint_id=wanted.endpoint_id,
        )
        put = {key: model.dump(row)}
        if document:
            put |= put_bundle(wanted.trust_domain, document, self._clock())
        try:
            await self._store.commit(expect={key: before.revision if before else 0}, put=put)
        except ConflictError as exc:
            raise ConflictError(f"the federation with `{wanted.trust_domain}` was changed meanwhile") from exc
        if document:
            await self._changed()

    async def all(self) -> list[Federated]:
        found = await rows.every(self._store, FederationRow, rows.FEDERATIONS)
        return [await self._whole(stored.row) for stored in found]

    async def get(self, trust_domain: str) -> Federated:
        """NotFoundError when there is no such relationship."""
        return await self._whole((await read(self._store, trust_domain)).row)

    async def remove(self, trust_domain: str) -> None:
        """End a relationship: its bundle is gone with it."""
        stored = await read(self._store, trust_domain)
        await self._store.commit(
            expect={stored.key: stored.revision},
            put={rows.FOREIGN_CHANGE: b"{}", rows.MESH: b"{}"},
            delete=[stored.key, rows.foreign_bundle_key(trust_domain), rows.polled_key(trust_domain)],
        )
        await self._changed()

    async def _whole(self, row: FederationRow) -> Federated:
        name = row.trust_domain
        held = await rows.find(self._store, ForeignBundleRow, rows.foreign_bundle_key(name))
        polled = await rows.find(self._store, PolledRow, rows.polled_key(name))
        return Federated(
            relationship=relationship(row),
            bundle=held.row if held else None,
            polled=polled.row if polled else PolledRow(),
        )


def relationship(row: FederationRow) -> Relationship:
    return Relationship(
        trust_domain=row.trust_domain, url=row.url, profile=row.profile, endpoint_id=row.endpoint_id
    )


def read_bundle(row: ForeignBundleRow) -> TrustBundle:
    """What is held. A document that this code can read no more believes nobody, and any other replaces it."""
    try:
        return federation.read(row.document.encode(), row.trust_domain)
    except CertError as exc:
        log.warning("bundle_unreadable", trust_domain=row.trust_domain, reason=str(exc))
        return TrustBundle(trust_domain=row.trust_domain)


def put_bundle(trust_domain: str, document: bytes, now: int) -> dict[str, bytes]:
    """What a commit writes with a new bundle, so that every node that federates is told."""
    row = ForeignBundleRow(trust_domain=trust_domain, document=document.decode(), since=now)
    return {
        rows.foreign_bundle_key(trust_domain): model.dump(row),
        rows.FOREIGN_CHANGE: b"{}",
        rows.MESH: b"{}",
    }


async def find(store: Store, trust_domain: str) -> Stored[FederationRow] | None:
    return await rows.find(store, FederationRow, rows.federation_key(trust_domain))


async def read(store: Store, trust_domain: str) -> Stored[FederationRow]:
    return await rows.read(
        store, FederationRow, rows.federation_key(trust_domain), f"federation with `{trust_domain[:255]}`"
    )
