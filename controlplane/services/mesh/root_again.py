"""What the root signs again and again: the delegation of document keys, and the list of revoked CAs. Where it is offline, by a ceremony.

`request` at a control plane, `sign` where the root is, `install` at any control plane: the papers travel, and no key. They are public.

1. A renewal gives no key a say: the same document keys, for longer. What a request brings must be signed by the root already.
2. The root remembers the newest delegation that it signed: an older request that names other keys is refused, so that none that was
   removed comes back.
3. An answer counts once, and for the keys that are delegated when it is installed: who joined or left meanwhile is not undone.
"""

import dataclasses
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certs.crl import Listed
from controlplane import model
from controlplane.api import files
from controlplane.authority_rows import DelegationRow, RevokedCaRow, RootCrlRow
from controlplane.errors import ConflictError, CorruptError, InvalidError
from controlplane.services import rows
from controlplane.services.authority import authorities, revoked_cas
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import delegating
from controlplane.services.mesh.replicas import read_delegation
from controlplane.signer.base import Signer
from controlplane.store.base import Store
from policies import documents as d

CRL_SUFFIX = ".crl"  # beside the root, under the name of its key: the newest list that it signed
MAX_BYTES = 4 << 20
MAX_GENERATION = 1 << 53  # as documents can hold


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a control plane asks the root to sign again."""

    trust_domain: str
    root: str  # hex DER
    delegation: str  # the newest, by the root
    generation: int
    crl: str  # the newest list, by the root, hex DER; empty: there is none yet
    revoked: list[dict[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the root signed."""

    root: str
    delegation: str
    crl: str


class RootAgain:
    """The control plane's side of it, for operators."""

    def __init__(self, store: Store, made: Authorities, changed: Callable[[], Awaitable[None]]) -> None:
        self._store, self._made, self._changed = store, made, changed

    async def request(self) -> str:
        return dumped(await request(self._store, self._made))

    async def install(self, text: str) -> tuple[d.Delegation, Listed]:
        """What holds from now on."""
        installed = await install(self._store, load_answer(text), self._made)
        await self._changed()
        return installed


async def request(store: Store, made: Authorities) -> Request:
    """Of what the store holds now."""
    newest = await rows.read(store, DelegationRow, rows.DELEGATION, "delegation")
    has = await revoked_cas.known(store, made.now.signing)
    return Request(
        trust_domain=made.trust_domain,
        root=made.root.hex(),
        delegation=newest.row.envelope,
        generation=has.generation,
        crl=has.der.hex(),
        revoked=[dataclasses.asdict(row) for row in has.revoked],
    )


def sign(asked: Request, directory: Path, signer: Signer, *, now: int, crl_lifetime_s: int) -> Answer:
    """Where the root is, which `directory` holds. InvalidError, and nothing is signed, for what is not of its mesh or older than it knows."""
    made = authorities.load(directory, signer)
    if (_hex(asked.root), asked.trust_domain) != (made.root, made.trust_domain):
        raise InvalidError("the request is for a mesh with another root")
    if not 0 <= asked.generation < MAX_GENERATION:
        raise InvalidError("the request is of no generation")
    base = _delegation(asked.delegation, *made.roots)  # (1)
    held = read_delegation(made.delegation, *made.now.ever)
    if base.version < held.version and _who(base) != _who(held):  # (2)
        raise InvalidError(
            f"the request brings delegation `{base.version}`, and the root has signed `{held.version}` since",
            hint="writ root request, at a control plane that is up to date",
        )
    # Above both: an answer that was lost on its way is signed once more, and no version says two things.
    newest = max(base, held, key=lambda one: one.version)
    renewed = delegating.next_version(newest, newest.keys, made, now)
    kept = directory / f"{made.now.key_name}{CRL_SUFFIX}"
    root = made.now.signing
    before = [one for one in (files.read(kept) or b"", _hex(asked.crl)) if one]
    for one in before:
        _listed(one, root)
    crl = revoked_cas.make(
        root,
        made.signing(made.now.key_name),
        _revoked(asked),
        before,
        generation=asked.generation,
        now=now,
        lifetime_s=crl_lifetime_s,
    )
    files.write(kept, crl)
    authorities.save(directory, dataclasses.replace(made, delegation=renewed))
    return Answer(root=made.root.hex(), delegation=renewed.decode(), crl=crl.hex())


def told(asked: Request, given: Answer, root: bytes) -> list[str]:
    """For people who hold the root: what they have signed."""
    delegation, listed = _delegation(given.delegation, root), _listed(bytes.fromhex(given.crl), root)
    named = {int(row.serial, 16): f"{row.kind} CA of `{row.replica}`" for row in _revoked(asked)}
    return [
        f"delegation {delegation.version} of {len(delegation.keys)} document keys, for another year",
        f"list of {len(listed.entries)} revoked CAs",
        *(f"  {one.serial:x}: {named.get(one.serial, 'listed before')}" for one in listed.entries),
    ]


async def install(store: Store, given: Answer, made: Authorities) -> tuple[d.Delegation, Listed]:
    """Publish what the root signed; InvalidError when it is not that, ConflictError when it is late."""
    if _hex(given.root) != made.root:
        raise InvalidError("the answer is of another root")
    root = made.now.signing
    renewed, listed = _delegation(given.delegation, root), _listed(_hex(given.crl), root)
    newest = await rows.read(store, DelegationRow, rows.DELEGATION, "delegation")
    base = read_delegation(newest.row.envelope.encode(), *made.roots)
    if renewed.version <= base.version or _who(renewed) != _who(base):  # (3)
        hint = "somebody joined or left since, or it is installed already: writ root request"
        raise ConflictError(f"the answer does not follow delegation `{base.version}`", hint=hint)
    has = await revoked_cas.known(store, root)
    if has.der and listed.number <= revoked_cas.read(has.der, root).number:
        raise ConflictError(
            "the list of revoked CAs is older than the one that is published", hint="writ root request"
        )
    await store.commit(
        expect={newest.key: newest.revision, rows.ROOT_CRL: has.revision},
        put={
            newest.key: model.dump(DelegationRow(version=renewed.version, envelope=given.delegation)),
            rows.ROOT_CRL: model.dump(RootCrlRow(der=given.crl)),
            rows.MESH: b"{}",
        },
    )
    return renewed, listed


def dumped(document: Request | Answer) -> str:
    return json.dumps(json.loads(model.dump(document)), indent=1) + "\n"


def load_request(text: str) -> Request:
    return _read(Request, text)


def load_answer(text: str) -> Answer:
    return _read(Answer, text)


def _read(kind: type[rows.R], text: str) -> rows.R:
    if len(text) > MAX_BYTES:
        raise InvalidError(f"this is no {kind.__name__.lower()} of `writ root`: it is too large")
    try:
        return model.load(kind, json.dumps(json.loads(text)).encode())
    except (ValueError, RecursionError, CorruptError) as exc:
        raise InvalidError(f"this is no {kind.__name__.lower()} of `writ root`") from exc


def _revoked(asked: Request) -> list[RevokedCaRow]:
    try:
        found = [model.load(RevokedCaRow, json.dumps(one).encode()) for one in asked.revoked]
        if any(int(row.serial, 16) <= 0 or row.reason not in revoked_cas.REASONS for row in found):
            raise ValueError("not a revoked CA")
    except (CorruptError, ValueError) as exc:
        raise InvalidError("the request names revoked CAs that are none") from exc
    return found


def _who(delegation: d.Delegation) -> d.Delegation:
    """What a renewal leaves as it is: everything but version and end."""
    return dataclasses.replace(delegation, version=0, expires=0)


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as exc:
        raise InvalidError("what should be hex is not") from exc


def _delegation(text: str, *believed: bytes) -> d.Delegation:
    try:
        return read_delegation(text.encode(), *believed)
    except CorruptError as exc:
        raise InvalidError(str(exc)) from exc


def _listed(der: bytes, root: bytes) -> Listed:
    try:
        return revoked_cas.read(der, root)
    except CorruptError as exc:
        raise InvalidError(str(exc)) from exc
