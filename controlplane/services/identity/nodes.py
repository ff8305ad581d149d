"""Sites and nodes: who may exist, what each is, and which of its certificates still count.

Every change of mesh content writes the `mesh` key in the same commit: its revision is the generation. `changed` is
awaited afterwards, so that what was decided is signed and on its way before the operator's call returns.
"""

import dataclasses
import secrets
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from certs import spiffe
from certs.attributes import DIGIT_MAX, Attributes, narrowed
from certs.errors import CertError
from controlplane import failpoints, model
from controlplane.attest.token import SECRET_BYTES, JoinToken, stored_name
from controlplane.errors import ConflictError, ExistsError, InvalidError, PreconditionError
from controlplane.model import NodeRow, SiteRow, TokenRow
from controlplane.services import rows
from controlplane.services.rows import Stored
from controlplane.store.base import Store

MAX_LABELS = 32
RETRIES = 8
TOGETHER = 32
"""Nodes in one commit at most: each writes its row and its floor, and compares one, of a store's 100 operations."""
WAY_BACK = {model.REVOKED: "unrevoke", model.LOCKED: "unlock", model.QUARANTINED: "release"}
Change = Callable[[NodeRow], NodeRow]


@dataclass(frozen=True, slots=True)
class Changed:
    """Nodes before and after one commit, and the generation that says so."""

    before: tuple[NodeRow, ...]
    after: tuple[NodeRow, ...]
    generation: int


class Nodes:
    """The registry. One instance per process; all state is in the store."""

    def __init__(
        self,
        store: Store,
        trust_domain: str,
        changed: Callable[[], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._trust_domain, self.mesh_changed = store, trust_domain, changed
        self._clock = clock

    async def add_site(self, name: str, jurisdiction: str, labels: dict[str, str]) -> SiteRow:
        _checked(spiffe.dns_label, name)
        _checked(spiffe.jurisdiction_code, jurisdiction)
        if name == spiffe.CONTROL_PLANE:
            raise InvalidError(f"`{name}` is reserved")
        if len(labels) > MAX_LABELS or any(len(k) > 63 or len(v) > 253 for k, v in labels.items()):  # noqa: PLR2004 - as Kubernetes
            raise InvalidError("at most 32 labels, keys to 63 and values to 253 characters")
        row = SiteRow(name=name, jurisdiction=jurisdiction, labels=labels)
        found = await rows.find(self._store, SiteRow, rows.site_key(name))
        if found is not None:
            if found.row != row:
                raise ExistsError(f"site `{name}` exists and is different")
            return row
        await self._store.commit(expect={rows.site_key(name): 0}, put={rows.site_key(name): model.dump(row)})
        return row

    async def sites(self) -> list[SiteRow]:
        return [stored.row for stored in await rows.every(self._store, SiteRow, "site/")]

    async def create_token(
        self, node: str, site: str, *, attributes: Attributes | None, token: JoinToken, expires_at: int
    ) -> None:
        """Keep a token's hash, and make the node's row if the name is new."""
        _checked(spiffe.dns_label, node)
        place = await rows.read(self._store, SiteRow, rows.site_key(site), f"site `{site}`")
        found = await rows.find(self._store, NodeRow, rows.node_key(node, site))
        if found is not None and found.row.state in model.SHUT_OUT:
            hint = f"writ node {WAY_BACK[found.row.state]} {node}.{site}"
            raise PreconditionError(f"node `{node}.{site}` is {found.row.state}", hint=hint)
        row = found.row if found else self._new(node, place.row)
        if attributes is not None:
            if found is not None and found.row.epoch and attributes != found.row.declared:
                raise PreconditionError(
                    f"node `{node}.{site}` exists with other attributes", hint="writ node set"
                )
            row = row.with_attributes(attributes)
        kept = TokenRow(node=node, site=site, expires_at=expires_at)
        key = rows.token_key(stored_name(token.secret))
        expect = {key: 0, rows.node_key(node, site): found.revision if found else 0}
        await self._store.commit(
            expect=expect, put={key: model.dump(kept), rows.node_key(node, site): model.dump(row)}
        )

    def _new(self, node: str, site: SiteRow) -> NodeRow:
        return new_node(self._trust_domain, node, site)

    async def get(self, node: str, site: str) -> NodeRow:
        return (await rows.read_node(self._store, node, site)).row

    async def all(self, site: str = "") -> list[NodeRow]:
        prefix = f"node/{site}/" if site else "node/"
        return [stored.row for stored in await rows.every(self._store, NodeRow, prefix)]

    async def set_attributes(self, node: str, site: str, new: Attributes) -> tuple[NodeRow, bool]:
        """(row, narrowed). Narrowing raises epoch and floor: certificates that say more are dead at once."""

        def change(row: NodeRow) -> NodeRow:
            if new == row.declared:
                return row
            changed = row.with_attributes(new)
            if changed.attributes == row.attributes:
                return changed  # its certificate says so already
            changed = dataclasses.replace(changed, renew_serial=row.serial)
            return (
                dead_before(changed)
                if row.epoch and narrowed(row.attributes, changed.attributes)
                else changed
            )

        done = await self.change([(node, site)], change)
        return done.after[0], done.after[0].floor != done.before[0].floor

    async def revoke(self, node: str, site: str, reason: str) -> int:
        """The generation as of which the node is revoked. Revoking again changes only the reason."""
        return (await self.change([(node, site)], revoked(reason))).generation

    async def unrevoke(self, node: str, site: str, *, of: frozenset[str] = model.ENDED) -> Changed:
        """The name may enrol again. Its floor is above every certificate it ever had. `of`: the states this is meant for."""

        def change(row: NodeRow) -> NodeRow:
            if row.state not in of:
                way = WAY_BACK.get(row.state)
                hint = f"writ node {way} {row.short}" if way else ""
                raise PreconditionError(f"node `{row.short}` is {row.state}", hint=hint)
            floor = row.epoch + 1
            return dataclasses.replace(row, state=model.INVITED, floor=floor, renew_floor=floor, reason="")

        return await self.change([(node, site)], change)

    async def lock(self, node: str, site: str, reason: str) -> None:
        """A copied key was seen: nobody may be this node until an operator looks."""

        def change(row: NodeRow) -> NodeRow:
            # What was shut out for good, or is, must not become less by a lock.
            return row if row.state in model.ENDED else _ended(row, model.LOCKED, reason)

        await self.change([(node, site)], change)

    async def quarantine(self, node: str, site: str, reason: str) -> Changed:
        """No peer accepts it and it accepts none; it goes on to send evidence and health, and to renew."""
        _check_reason(reason)

        def change(row: NodeRow) -> NodeRow:
            if row.state not in model.HEARD:
                raise PreconditionError(f"node `{row.short}` is {row.state}, not enrolled")
            return _ended(row, model.QUARANTINED, reason)

        return await self.change([(node, site)], change)

    async def release(self, node: str, site: str) -> Changed:
        """End a quarantine. What was issued before stays dead: the node renews by itself, and counts from then on."""

        def change(row: NodeRow) -> NodeRow:
            if row.state != model.QUARANTINED:
                raise PreconditionError(f"node `{row.short}` is {row.state}, not quarantined")
            up = row.epoch + 1
            return dataclasses.replace(
                row, state=model.ENROLLED, reason="", epoch=up, floor=up, renew_serial=row.serial
            )

        return await self.change([(node, site)], change)

    async def ask_to_renew(self, node: str, site: str) -> NodeRow:
        """The certificate it has now is to be renewed soon, also if its agent is away at the moment."""
        stored = await rows.read_node(self._store, node, site)
        row = dataclasses.replace(stored.row, renew_serial=stored.row.serial)
        await self._store.commit(expect={stored.key: stored.revision}, put={stored.key: model.dump(row)})
        return row

    async def note(self, node: str, site: str, **facts: str) -> tuple[NodeRow, bool]:
        """(row, changed): keep what an agent says of itself, address and evidence key. No mesh content: no generation."""
        for _ in range(RETRIES):
            stored = await rows.read_node(self._store, node, site)
            after = dataclasses.replace(stored.row, **facts)  # type: ignore[arg-type]
            if after == stored.row:
                return after, False
            try:
                await self._store.commit(
                    expect={stored.key: stored.revision}, put={stored.key: model.dump(after)}
                )
            except ConflictError:
                continue
            return after, True
        raise ConflictError(f"node `{node}.{site}` keeps changing")

    async def follower(self, serial: str) -> str:
        """The certificate that was issued for this one, or nothing."""
        found = await rows.find(self._store, model.IssuedRow, rows.successor_key(serial))
        return found.row.serial if found else ""

    async def generation(self) -> int:
        item = await self._store.get(rows.MESH)
        return item.revision if item else 0

    def floor_writes(self, row: NodeRow) -> tuple[tuple[str, bytes], ...]:
        """What every commit that changes a node's floors also writes."""
        never_ended = (
            row.floor == 1 and not row.floor_at
        )  # else a row may say that it is, also of one that had no certificate
        if never_ended and row.state not in model.SHUT_OUT:
            return ((rows.MESH, b"{}"),)
        return ((rows.floor_key(row.node, row.site), model.dump(row)), (rows.MESH, b"{}"))

    async def change(self, names: Sequence[tuple[str, str]], change: Change) -> Changed:
        """Change up to `TOGETHER` nodes in one commit: all or none. What is signed of it is on its way when this returns."""
        for _ in range(RETRIES):
            stored = [await rows.read_node(self._store, *name) for name in names]
            after = tuple(self._dated(one.row, change(one.row)) for one in stored)
            before = tuple(one.row for one in stored)
            if after == before:
                return Changed(before, after, await self.generation())
            try:
                generation = await self._write(stored, after)
            except ConflictError:
                continue
            failpoints.reach("node.stored")
            await self.mesh_changed()
            return Changed(before, after, generation)
        raise ConflictError(f"{_named(names)} keep changing")

    async def _write(self, stored: Sequence[Stored[NodeRow]], after: Sequence[NodeRow]) -> int:
        expect: dict[str, int] = {}
        put: dict[str, bytes] = {}
        for one, row in zip(stored, after, strict=True):
            if row != one.row:
                expect[one.key], put[one.key] = one.revision, model.dump(row)
                put.update(self.floor_writes(row))
        return await self._store.commit(expect=expect, put=put)

    def _dated(self, before: NodeRow, after: NodeRow) -> NodeRow:
        """With the time, if certificates died: none of them outlives it by more than the longest life."""
        if (before.state, before.floor) == (after.state, after.floor):
            return after
        return dataclasses.replace(after, floor_at=int(self._clock()))


def revoked(reason: str) -> Change:
    """InvalidError for a reason that is not one line."""
    _check_reason(reason)
    return lambda row: _ended(row, model.REVOKED, reason)


def _ended(row: NodeRow, state: str, reason: str) -> NodeRow:
    return dataclasses.replace(row, state=state, reason=reason)


def _check_reason(reason: str) -> None:
    if len(reason) > 200 or not reason.isprintable():  # noqa: PLR2004 - one line
        raise InvalidError("a reason is one line of at most 200 characters")


def _named(names: Sequence[tuple[str, str]]) -> str:
    shown = ", ".join(f"`{node}.{site}`" for node, site in names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown  # noqa: PLR2004 - as many as fit a line


def new_node(trust_domain: str, node: str, site: SiteRow) -> NodeRow:
    """A node nobody has said anything of: its tier is what its attestation says."""
    return NodeRow(
        trust_domain=trust_domain, node=node, site=site.name, jurisdiction=site.jurisdiction, tier=DIGIT_MAX
    )


def dead_before(row: NodeRow) -> NodeRow:
    """The node of `row`, and no certificate that says more: peers refuse those before, their node may renew."""
    return dataclasses.replace(row, epoch=row.epoch + 1, floor=row.epoch + 1)


def new_secret() -> bytes:
    return secrets.token_bytes(SECRET_BYTES)


def _checked(check: Callable[[str], str], value: str) -> str:
    try:
        return check(value)
    except CertError as exc:
        raise InvalidError(str(exc)) from exc
