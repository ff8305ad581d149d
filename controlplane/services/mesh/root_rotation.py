"""Changing the root of a mesh at work: prepare, activate, retire. The root before vouches for the next, and nobody else can.

1. Prepared: the change, signed by both roots, goes to every agent; both roots are in the trust document; the old one signs.
2. Active, once every connected agent has said that it believes both: the new root has delegated the document keys, and signs.
   Issuing CAs below the old root are replaced by the schedule (`rotation`), as if they were about to end.
3. Retired, once no CA below the old root is listed and every connected agent holds the delegation of the new one.
A control plane cannot make a change, only hand it on. What is forced names whom it leaves behind.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from certs.verify import load
from controlplane import failpoints, model
from controlplane.authority_rows import CaRow, DelegationRow, RootChangeRow
from controlplane.errors import (
    ConflictError,
    ControlPlaneError,
    CorruptError,
    InvalidError,
    PreconditionError,
)
from controlplane.services import rows
from controlplane.services.authority import ca_rows, revoked_cas, root_files
from controlplane.services.authority import standing as standings
from controlplane.services.authority.acknowledged import Acknowledged
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.standing import ACTIVE, DONE, PREPARED, Standing
from controlplane.services.mesh import delegating
from controlplane.services.mesh.replicas import is_signed, read_delegation
from controlplane.services.rows import Stored
from controlplane.signer.file import FileSigner
from controlplane.store.base import Store
from controlplane.store.follow import follow
from policies import documents as d

log = structlog.get_logger()
MAX_NAMED = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a step does, or would do: who does not know the change yet, and which CAs end with the old root."""

    behind: tuple[str, ...] = ()
    cas: tuple[CaRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rooted:
    """One root of this mesh, as it is now."""

    version: int
    certificate: bytes  # DER
    state: str
    since: int = 0


class RootRotation:
    """One change at a time."""

    def __init__(
        self,
        store: Store,
        made: Authorities,
        signer: FileSigner,
        directory: Path,
        *,
        acknowledged: Acknowledged,
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        """`directory`: where the keys of this replica are."""
        self._store, self._made, self._signer, self._directory = store, made, signer, directory
        self._acknowledged, self._changed, self._clock = acknowledged, changed, clock

    async def all(self) -> list[Stored[RootChangeRow]]:
        """Oldest first."""
        return await rows.every(self._store, RootChangeRow, rows.ROOT_CHANGES)

    async def roots(self) -> list[Rooted]:
        """Every root that this mesh ever had, oldest first."""
        changes = [one.row for one in await self.all()]
        return [
            Rooted(version=number, certificate=der, state=state, since=since)
            for number, (der, state, since) in enumerate(
                standings.history(self._made.root, self._made.trust_domain, changes), standings.FIRST
            )
        ]

    async def begin(self) -> None:
        """Before anything is served: go by what the store says."""
        self._made.stand([one.row for one in await self.all()])

    async def run(self) -> None:
        """Keep beside our keys how the root was changed: ceremonies and restores go by that, while we do not run."""
        async for _ in follow(self._store, rows.ROOT_CHANGES):
            try:
                await self.note()
            except (ControlPlaneError, OSError) as exc:  # a full disk must not end the replica
                log.warning("root_changes_not_kept", reason=str(exc))

    async def note(self) -> None:
        known = [one.row for one in await self.all()]
        kept = root_files.load(self._directory)
        if known != kept and standings.rank(known) >= standings.rank(kept):
            root_files.save(self._directory, known)

    async def prepare(self, change: bytes, *, dry_run: bool = False) -> Effect:
        """Hand a change on to everybody. The same one again changes nothing."""
        known = await self.all()
        if known and known[-1].row.envelope.encode() == change:
            return self._effect(known[-1])
        if known and known[-1].row.state != DONE:
            raise PreconditionError("another change of the root is under way", hint="writ root rotate list")
        row = RootChangeRow(
            version=standings.FIRST + 1 + len(known),
            envelope=_text(change),
            state=PREPARED,
            since=int(self._clock()),
        )
        after = self._after(known, row)
        lives = load(after.roots[-1])
        if (
            not lives.not_valid_before_utc.timestamp()
            <= self._clock()
            < lives.not_valid_after_utc.timestamp()
        ):
            raise InvalidError("the next root is not valid now")
        key = rows.root_change_key(row.version)
        if dry_run:
            return Effect(behind=tuple(self._acknowledged.behind(0, d.ROOT_CHANGES)))
        revision = await self._commit({key: 0}, {key: model.dump(row)}, "root.prepared")
        return self._effect(Stored(key, row, revision))

    async def activate(
        self, delegation: bytes = b"", *, force: bool = False, dry_run: bool = False
    ) -> Effect:
        """Let the new root sign. `delegation` is its own, of the document keys that count now, where its key is elsewhere."""
        known = await self.all()
        last = self._last(known, PREPARED, ACTIVE)
        effect = self._effect(last)
        if dry_run:
            return effect
        if effect.behind and not force and last.row.state == PREPARED:
            hint = "wait, or --force: until they hear of it, they refuse what the new root signs"
            raise PreconditionError(f"not known yet to {_named(effect.behind)}", hint=hint)
        row = replace(last.row, state=ACTIVE, since=int(self._clock()))
        newest = await rows.read(self._store, DelegationRow, rows.DELEGATION, "delegation")
        given = self._delegation(newest.row, self._after(known[:-1], row), delegation)
        await self._commit(
            {last.key: last.revision, newest.key: newest.revision},
            {last.key: model.dump(row), newest.key: model.dump(given)},
            "root.activated",
        )
        return effect

    async def retire(self, *, force: bool = False, dry_run: bool = False) -> Effect:
        """Believe the old root no more, anywhere, and nothing below it."""
        known = await self.all()
        last = self._last(known, ACTIVE)
        after = self._after(known[:-1], replace(last.row, state=DONE))
        below = [
            one
            for one in await self._cas()
            if one.row.certificate and not ca_rows.names(one.row, after.signing)
        ]
        effect = replace(self._effect(last), cas=tuple(one.row for one in below))
        if dry_run:
            return effect
        newest = await rows.read(self._store, DelegationRow, rows.DELEGATION, "delegation")
        if not is_signed(newest.row.envelope.encode(), after.signing):
            hint = "writ root rotate activate, again"
            raise PreconditionError("the new root has not signed the newest delegation", hint=hint)
        if below and not force:
            named = _named([f"{one.row.key_id} ({one.row.kind} of `{one.row.replica}`)" for one in below])
            hint = "they go once nothing that they signed can live: writ authority list; or --force"
            raise PreconditionError(f"below the old root there are {named}", hint=hint)
        if effect.behind and not force:
            hint = "wait, or --force: they must enrol again"
            raise PreconditionError(f"not known yet to {_named(effect.behind)}", hint=hint)
        row = replace(last.row, state=DONE, since=int(self._clock()))
        expect = {one.key: one.revision for one in below}
        expect |= {last.key: last.revision, newest.key: newest.revision}
        put = {last.key: model.dump(row)}
        for one in below:
            put |= revoked_cas.noted(one.row, row.since)
        await self._commit(expect, put, "root.retired", [one.key for one in below])
        return effect

    # --- inside --------------------------------------------------------------------------------------------------

    def _effect(self, of: Stored[RootChangeRow]) -> Effect:
        return Effect(behind=tuple(self._acknowledged.behind(of.revision, d.ROOT_CHANGES)))

    def _after(self, known: Sequence[Stored[RootChangeRow]], row: RootChangeRow) -> Standing:
        """How the root would stand; InvalidError for a change that does not lead on from it."""
        try:
            return standings.of(self._made.root, self._made.trust_domain, [*(one.row for one in known), row])
        except CorruptError as exc:
            raise InvalidError(f"this is no change of our root: {exc}") from exc

    @staticmethod
    def _last(known: Sequence[Stored[RootChangeRow]], *states: str) -> Stored[RootChangeRow]:
        if not known or known[-1].row.state not in states:
            state = known[-1].row.state if known else "under way"
            about = f"the change of the root is {state}" if known else "no change of the root is under way"
            raise PreconditionError(f"{about}, not {' or '.join(states)}", hint="writ root rotate list")
        return known[-1]

    def _delegation(self, newest: DelegationRow, after: Standing, given: bytes) -> DelegationRow:
        """Of the same document keys, by the new root, newer than the one before."""
        base = read_delegation(newest.envelope.encode(), *after.roots)
        if not given:
            if not self._signer.has(after.key_name):
                hint = (
                    "writ root rotate activate --request FILE, and where the root is: writ root rotate sign"
                )
                raise PreconditionError("the key of the new root is not here", hint=hint)
            given = delegating.next_version(base, base.keys, self._made, int(self._clock()), by=after)
        try:
            offered = read_delegation(given, after.signing)
        except CorruptError as exc:
            raise InvalidError(f"this is no delegation by the new root: {exc}") from exc
        if offered != replace(base, version=offered.version, expires=offered.expires):
            hint = "replicas came or went since: writ root rotate activate --request FILE"
            raise InvalidError("the delegation is not of the document keys that count now", hint=hint)
        if offered.version <= base.version or offered.expires <= self._clock():
            raise InvalidError("the delegation is older than the one that counts now")
        return DelegationRow(version=offered.version, envelope=given.decode())

    async def _cas(self) -> list[Stored[CaRow]]:
        return await rows.every(self._store, CaRow, rows.CA_AUTHORITIES)

    async def _commit(
        self, expect: dict[str, int], put: dict[str, bytes], reached: str, delete: Sequence[str] = ()
    ) -> int:
        try:
            revision = await self._store.commit(
                expect=expect, put={**put, rows.MESH: b"{}"}, delete=list(delete)
            )
        except ConflictError as exc:
            raise ConflictError("the root was changed meanwhile", hint="writ root rotate list") from exc
        failpoints.reach(reached)
        await self._changed()
        return revision


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:MAX_NAMED]) + (", …" if len(names) > MAX_NAMED else "")


def _text(change: bytes) -> str:
    try:
        return change.decode()
    except UnicodeDecodeError as exc:
        raise InvalidError("this is no change of a root") from exc
