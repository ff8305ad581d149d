"""Operators: who may administer, as what, where. All state is in the store and is read at every call.

1. A certificate counts while its name has a row that lists its serial: removing the row ends it at once, and a name that is
   given again does not bring the certificates of before back.
2. Nobody gives, changes or takes away more than he holds (`grants`), and nobody changes himself.
3. One administrator of the whole mesh is always left; two who remove each other at once meet in a compare-and-set.
4. A certificate is stored before it is signed, in the commit that lists its serial.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from certs import issue, spiffe
from certs.csr import public_key_from_csr
from certs.errors import CertError
from certs.profile import OPERATOR_LIFETIME_S, Profile
from controlplane import model
from controlplane.errors import (
    DeniedError,
    ExistsError,
    InvalidError,
    NotFoundError,
    PreconditionError,
)
from controlplane.model import CertificateRow, SiteRow
from controlplane.operator_rows import OperatorRow
from controlplane.services import rows
from controlplane.services.admin import grants
from controlplane.services.admin.grants import Grant
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import setup
from controlplane.services.rows import Stored
from controlplane.store.base import Store

MAX_HOURS = OPERATOR_LIFETIME_S // 3600
KEPT_SERIALS = 4  # renewals overlap: a second shell still holds the certificate of before
MAX_OPERATORS = 1000
APPOINTED = "appointed.json"
"""In the state directory: the operator that `writ init`, or a recovery on this machine, made. Taken at the next start."""


class Operators:
    """The registry of operators."""

    def __init__(self, store: Store, made: Authorities, clock: Callable[[], float] = time.time) -> None:
        self._store, self._made, self._clock = store, made, clock

    async def of(self, name: str, serial: int) -> Grant:
        """What the bearer of a verified operator certificate may do; DeniedError when it no longer counts."""
        found = await rows.find(self._store, OperatorRow, rows.operator_key(name))
        if found is None or f"{serial:x}" not in found.row.serials:
            raise DeniedError(
                f"`{name}` is no operator, or not with this certificate", hint="writ operator list"
            )
        if found.row.role not in grants.ROLES:
            raise DeniedError(f"operator `{name}` has no role")
        return Grant(
            name=name,
            role=found.row.role,
            sites=frozenset(found.row.sites),
            credential=f"certificate {serial:x}",
        )

    async def all(self) -> list[OperatorRow]:
        return [stored.row for stored in await rows.every(self._store, OperatorRow, rows.OPERATORS)]

    async def add(self, by: Grant, wanted: OperatorRow, csr: bytes) -> tuple[OperatorRow, bytes]:
        """(row, leaf) of a new operator."""
        key = _public_key(csr)
        await self._check_wanted(by, wanted)
        name = rows.operator_key(wanted.name)
        if await self._store.get(name) is not None:
            raise ExistsError(
                f"there is an operator `{wanted.name}`", hint="writ operator set, or renew --for"
            )
        if len(await self.all()) >= MAX_OPERATORS:
            raise PreconditionError(f"there are {MAX_OPERATORS} operators")
        row = dataclasses.replace(
            wanted, hours=wanted.hours or MAX_HOURS, since=int(self._clock()), by=by.name
        )
        return await self._issue(Stored(name, row, 0), key)

    async def set(self, by: Grant, wanted: OperatorRow) -> OperatorRow:
        """Another role, other sites, other hours, from the next call on."""
        before = await self._others(by, wanted.name)
        await self._check_wanted(by, wanted)
        row = dataclasses.replace(
            before.row,
            role=wanted.role,
            sites=sorted(set(wanted.sites)),
            hours=wanted.hours or before.row.hours,
        )
        expect = {before.key: before.revision}
        if _governs(before.row) and not _governs(row):
            expect |= await self._rest(before.key)
        await self._store.commit(expect=expect, put={before.key: model.dump(row)})
        return row

    async def remove(self, by: Grant, name: str) -> None:
        """Ends every certificate of this name with its next call."""
        before = await self._others(by, name)
        expect = {before.key: before.revision}
        if _governs(before.row):
            expect |= await self._rest(before.key)
        await self._store.commit(expect=expect, put={}, delete=[before.key])

    async def check_over(self, by: Grant, name: str) -> None:
        """May he decide about this operator, who may not be there yet?"""
        if name == by.name or await self._store.get(rows.operator_key(name[:63])) is not None:
            await self._others(by, name)

    async def renew(self, by: Grant, name: str, csr: bytes) -> tuple[OperatorRow, bytes]:
        """The next certificate: for oneself, or, by an administrator, for somebody whose last one has ended."""
        key = _public_key(csr)
        if name in {"", by.name}:
            return await self._issue(await self._read(by.name), key)
        if by.role != grants.ADMIN:
            raise DeniedError(f"`{by.name}` is {by.role}: only an administrator renews for others")
        return await self._issue(await self._others(by, name), key)

    async def appoint(self, directory: Path, given: "Appointed") -> None:
        """Take the operator that was made on this machine, with the keys at hand. He governs the whole mesh."""
        key = rows.operator_key(given.name)
        found = await rows.find(self._store, OperatorRow, key)
        row = dataclasses.replace(
            unwritten(given.name, grants.ADMIN, [], MAX_HOURS),
            serials=[given.serial],
            not_after=given.not_after,
            since=int(self._clock()),
            by="this machine",
        )
        await self._store.commit(expect={key: found.revision if found else 0}, put={key: model.dump(row)})
        (directory / APPOINTED).unlink()  # a second start must not bring back whom others have removed since

    # --- inside --------------------------------------------------------------------------------------------------

    async def _issue(
        self, stored: Stored[OperatorRow], key: ec.EllipticCurvePublicKey
    ) -> tuple[OperatorRow, bytes]:
        now = int(self._clock())
        prepared = issue.prepare_control_plane(
            Profile(lifetime_s=stored.row.hours * 3600),
            spiffe.operator_id(self._made.trust_domain, stored.row.name),
            public_key=key,
            issuer=self._made.control_plane_ca,
            serial=setup.new_serial(),
            now=now,
        )
        serial = f"{prepared.serial:x}"
        row = dataclasses.replace(
            stored.row, serials=[*stored.row.serials, serial][-KEPT_SERIALS:], not_after=prepared.not_after
        )
        put = {stored.key: model.dump(row), **_certificate(prepared, serial)}
        await self._store.commit(expect={stored.key: stored.revision}, put=put)  # (4)
        return row, issue.sign(prepared, self._made.signing(prepared.key_name))

    async def _check_wanted(self, by: Grant, wanted: OperatorRow) -> None:
        try:
            spiffe.dns_label(wanted.name)
        except CertError as exc:
            raise InvalidError(str(exc)) from exc
        grants.check_role(wanted.role)
        if not 0 <= wanted.hours <= MAX_HOURS:
            raise InvalidError(f"an operator's certificate lives 1 to {MAX_HOURS} hours")
        if len(wanted.sites) > grants.MAX_SITES:
            raise InvalidError(f"at most {grants.MAX_SITES} sites")
        by.check_holds(wanted.sites)  # (2)
        for site in wanted.sites:
            await rows.read(self._store, SiteRow, rows.site_key(site), f"site `{site[:63]}`")

    async def _others(self, by: Grant, name: str) -> Stored[OperatorRow]:
        """A row that the caller may change: not his own, and not wider than he is."""
        if name == by.name:
            raise DeniedError("nobody changes himself", hint="another administrator does")
        found = await self._read(name)
        by.check_holds(found.row.sites)
        return found

    async def _read(self, name: str) -> Stored[OperatorRow]:
        found = await rows.find(self._store, OperatorRow, rows.operator_key(name))
        if found is None:
            raise NotFoundError(f"there is no operator `{name[:63]}`", hint="writ operator list")
        return found

    async def _rest(self, but: str) -> Mapping[str, int]:
        """(3) Who would be left to govern, as they are now: whoever removes them at the same time conflicts."""
        found = await rows.every(self._store, OperatorRow, rows.OPERATORS)
        left = [stored for stored in found if stored.key != but and _governs(stored.row)]
        if not left:
            raise PreconditionError("the last administrator of the mesh stays", hint="add another one first")
        return {left[0].key: left[0].revision}


@dataclass(frozen=True, slots=True, kw_only=True)
class Appointed:
    """An operator who was made on the machine of a control plane, and not through its API."""

    name: str
    serial: str
    not_after: int


def make_first(made: Authorities, directory: Path, name: str, now: int) -> setup.Operator:
    """A certificate with a fresh key, and the note by which the control plane will take it for an administrator's."""
    operator, prepared = setup.make_operator(made, name, now)
    given = Appointed(name=name, serial=f"{prepared.serial:x}", not_after=prepared.not_after)
    (directory / APPOINTED).write_bytes(model.dump(given))
    return operator


def appointed(directory: Path, now: int) -> Appointed | None:
    """Whom the control plane is to take at its next start. A note that comes out of a backup has ended, and is nobody's."""
    try:
        given = model.load(Appointed, (directory / APPOINTED).read_bytes())
    except FileNotFoundError:
        return None
    return given if now < given.not_after else None


def unwritten(name: str, role: str, sites: list[str], hours: int) -> OperatorRow:
    """What is asked for, before anybody has looked at it."""
    return OperatorRow(
        name=name, role=role, sites=sorted(set(sites)), hours=hours, serials=[], not_after=0, since=0, by=""
    )


def _governs(row: OperatorRow) -> bool:
    return row.role == grants.ADMIN and not row.sites


def _public_key(csr: bytes) -> ec.EllipticCurvePublicKey:
    try:
        return public_key_from_csr(csr)
    except CertError as exc:
        raise InvalidError(str(exc)) from exc


def _certificate(prepared: issue.Prepared, serial: str) -> dict[str, bytes]:
    row = CertificateRow(
        serial=serial,
        spiffe_id=str(prepared.spiffe_id),
        epoch=0,
        not_before=prepared.not_before,
        not_after=prepared.not_after,
        spki=prepared.spki_sha256.hex(),
        key_name=prepared.key_name,
        tbs=prepared.tbs.hex(),
    )
    return {rows.certificate_key(serial, prepared.not_after): model.dump(row)}
