"""Revoking nodes: whom a selector hits, and ending all of them, some in one commit.

1. A selector says one thing: nodes by name; a key, a serial or an authority; or site, labels and attributes that must all
   hold. One that says nothing, or two things, is refused: an empty one is not everybody.
2. A key is refused for good before its holders are looked for: what was certified with it until then is found, and nothing
   can be afterwards.
3. Each commit ends up to `TOGETHER` nodes, all or none. What could not be ended is named beside what was.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from certs.profile import CaKind
from controlplane import model
from controlplane.authority_rows import CaRow
from controlplane.errors import ControlPlaneError, InvalidError, NotFoundError
from controlplane.model import CertificateRow, NodeRow, RevokedKeyRow, SiteRow
from controlplane.services import rows
from controlplane.services.identity import certificates, nodes
from controlplane.services.identity.nodes import Nodes
from controlplane.store.base import Store

SPKI = re.compile(r"[0-9a-f]{64}")
SERIAL = re.compile(r"[1-9a-f][0-9a-f]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Selector:
    """Whom an operator means. Only what is given counts."""

    names: tuple[str, ...] = ()  # `<node>.<site>`
    site: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)  # of the node's site
    attributes: tuple[str, ...] = ()  # as in certificates: `group:clinical`
    key: str = ""  # SHA-256 of the SubjectPublicKeyInfo, hex
    serial: str = ""  # hex
    authority: str = ""  # key id of an issuing CA, or the name of a replica: its CAs


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A node that is meant. `generation` is as of when it is revoked; 0 with `error`: it is not."""

    node: NodeRow
    generation: int = 0
    error: str = ""


class Revocation:
    """Ends nodes. All state is in the store."""

    def __init__(
        self,
        store: Store,
        registry: Nodes,
        clock: Callable[[], int],
        believed: Callable[[], Sequence[bytes]],
    ) -> None:
        """`believed`: the CAs (DER) of nodes and workloads, of every replica."""
        self._store, self._nodes, self._clock, self._believed = store, registry, clock, believed

    async def select(self, selector: Selector) -> list[NodeRow]:
        """Whom it hits, revoked ones included. NotFoundError when it names what does not exist, or nobody."""
        _check(selector)
        all_ = await self._nodes.all()
        if selector.names:
            return _named(all_, selector.names)
        find = self._holders if _exact(selector) else self._alike
        wanted = await find(all_, selector)
        found = [row for row in all_ if row.short in wanted]
        if not found and not selector.key:
            raise NotFoundError("no node is meant by that")
        return found

    async def revoke(self, selector: Selector, reason: str) -> list[Hit]:
        """End everybody it hits. Raises while nothing was done; afterwards every node says what became of it."""
        end = nodes.revoked(reason)
        _check(selector)
        if selector.key:
            await self._refuse_key(selector.key, reason)
        found = await self.select(selector)
        done: list[Hit] = []
        for start in range(0, len(found), nodes.TOGETHER):
            done += await self._together(found[start : start + nodes.TOGETHER], end)
        return done

    async def _together(self, chunk: Sequence[NodeRow], end: nodes.Change) -> list[Hit]:
        try:
            made = await self._nodes.change([(row.node, row.site) for row in chunk], end)
        except ControlPlaneError as exc:
            return [Hit(node=row, error=str(exc)) for row in chunk]
        return [Hit(node=row, generation=made.generation) for row in made.after]

    async def _refuse_key(self, spki: str, reason: str) -> None:
        key = rows.revoked_key(spki)
        if await self._store.get(key) is None:
            row = RevokedKeyRow(spki=spki, reason=reason, at=self._clock())
            await self._store.commit(expect={}, put={key: model.dump(row)})

    async def _holders(self, all_: Sequence[NodeRow], selector: Selector) -> set[str]:
        """Nodes that hold what is meant. One that only did so under an epoch that is dead already holds it no more."""
        epochs = {row.short: row.renew_floor for row in all_}
        held = [(certificates.node_of(one), one.epoch) for one in await self._certificates(selector)]
        return {name for name, epoch in held if name in epochs and epoch >= epochs[name]}

    async def _certificates(self, selector: Selector) -> list[CertificateRow]:
        now = self._clock()
        if selector.serial:
            found = await certificates.by_serial(self._store, selector.serial, now)
            return [found] if found else []
        if selector.key:
            return [one async for one in certificates.every(self._store, now) if one.spki == selector.key]
        cas = await self._cas(selector.authority)
        return [
            one
            async for one in certificates.every(self._store, now)
            if one.not_after > now and any(certificates.issued_by(one, ca) for ca in cas)
        ]

    async def _cas(self, authority: str) -> list[bytes]:
        """Key ids of the CAs meant."""
        found = {one for one in map(certificates.ca_key_id, self._believed()) if one.hex() == authority}
        for stored in await rows.every(self._store, CaRow, rows.CA_AUTHORITIES):
            ca = stored.row
            if (
                ca.certificate
                and ca.kind != CaKind.CONTROL_PLANE.value
                and authority in {ca.key_id, ca.replica}
            ):
                found.add(certificates.ca_key_id(bytes.fromhex(ca.certificate)))
        if not found:
            raise NotFoundError(f"there is no authority `{authority[:64]}`")
        return sorted(found)

    async def _alike(self, all_: Sequence[NodeRow], selector: Selector) -> set[str]:
        sites = {stored.row.name: stored.row for stored in await rows.every(self._store, SiteRow, "site/")}
        if selector.site and selector.site not in sites:
            raise NotFoundError(f"there is no site `{selector.site[:64]}`")
        return {row.short for row in all_ if row.site in sites and _matches(row, sites[row.site], selector)}


def _matches(row: NodeRow, site: SiteRow, selector: Selector) -> bool:
    there = not selector.site or site.name == selector.site
    labelled = selector.labels.items() <= site.labels.items()
    return there and labelled and set(selector.attributes) <= set(row.attributes.units())


def _named(all_: Sequence[NodeRow], names: Sequence[str]) -> list[NodeRow]:
    known = {row.short: row for row in all_}
    missing = [name for name in names if name not in known]
    if missing:
        raise NotFoundError(f"there is no node `{missing[0][:128]}`", hint="nothing was changed")
    return [known[name] for name in dict.fromkeys(names)]


def _exact(selector: Selector) -> bool:
    return bool(selector.key or selector.serial or selector.authority)


def _check(selector: Selector) -> None:
    alike = bool(selector.site or selector.labels or selector.attributes)
    said = [selector.names, selector.key, selector.serial, selector.authority, alike]
    if sum(map(bool, said)) != 1:
        hint = "nodes by name; or --key, --serial or --authority; or --site, --label, --attribute together"
        raise InvalidError("say one thing: whom is it to hit", hint=hint)
    if selector.key and not SPKI.fullmatch(selector.key):
        raise InvalidError("a key is the SHA-256 of its SubjectPublicKeyInfo: 64 hex digits, lower case")
    if selector.serial and not SERIAL.fullmatch(selector.serial):
        raise InvalidError("a serial is in hex, lower case, without leading zeros")
