"""Certificates of workloads: asked for as soon as a workload is registered, renewed at half-life, asked for anew when the
registration, what the node may, or whom the mesh believes has changed. Keys are made here; with their certificates they are kept on disk, so that
an agent that starts again alone goes on.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from agent.errors import IdentityError
from agent.identity import Identity
from agent.workload import kept as kept_on_disk
from agent.workload.entitled import Svid
from agent.workload.errors import CallError
from certs import keys, spiffe, verify
from certs.attributes import Attributes, within
from certs.csr import make_csr
from certs.errors import CertError
from certs.profile import CaKind
from certs.renewal import renew_at
from policies.roots import Roots, crosses
from policies.workloads import Workload

log = structlog.get_logger()
FIRST_RETRY_S, MAX_RETRY_S = 0.2, 10.0
LOOK_S = 5.0
AT_ONCE = 8  # requests to the control plane in flight
Issue = Callable[[str, bytes], Awaitable[Sequence[bytes]]]
"""Workload name and signing request -> chain, DER, leaf first."""


@dataclass(slots=True)
class _Entry:
    """One workload. Owned by `Svids`."""

    workload: Workload
    node: tuple[int, Attributes]  # epoch and attributes of the node: other ones ask for another certificate
    due: float
    svid: Svid | None = None
    retry_s: float = FIRST_RETRY_S


class Svids:
    """Keeps a certificate for everyone who is registered."""

    def __init__(
        self, roots: Callable[[], Roots], directory: Path, issue: Issue, changed: Callable[[], None]
    ) -> None:
        self._roots, self._directory, self._issue, self._changed = roots, directory, issue, changed
        self._entries: dict[str, _Entry] = {}
        self._identity: Identity | None = None
        self._cas: tuple[bytes, ...] = ()
        self._wanted = asyncio.Event()

    def want(self, registered: Sequence[Workload], identity: Identity, cas: tuple[bytes, ...]) -> None:
        """These and no others, below this node, by these workload CAs (DER): what another one signed counts no more."""
        node = (identity.epoch, identity.attributes)
        self._identity, self._cas = identity, cas
        entries: dict[str, _Entry] = {}
        for workload in registered:
            kept = self._entries.get(workload.name)
            if kept is None or kept.node != node or (kept.svid and kept.svid.chain[1] not in cas):
                entries[workload.name] = self._restored(workload, identity)
            elif (
                kept.workload.attributes != workload.attributes
            ):  # it goes on with the old one until the new is there
                entries[workload.name] = _Entry(workload, node, due=0, svid=kept.svid)
            else:
                kept.workload = workload
                entries[workload.name] = kept
        self._entries = entries
        kept_on_disk.forget(self._directory, entries)
        self._wanted.set()

    def _restored(self, workload: Workload, identity: Identity) -> _Entry:
        """With what is on disk, if that is still what it would be given."""
        entry = _Entry(workload, (identity.epoch, identity.attributes), due=0)
        found = kept_on_disk.load(self._directory, workload.name)
        if found is None:
            return entry
        told = workload.attributes
        try:
            given = within(told, identity.attributes) if told else identity.attributes
            svid = self._made(*found, identity, workload.name)
        except (IdentityError, CertError) as exc:
            log.info("workload_key_on_disk_refused", workload=workload.name, reason=str(exc))
            return entry
        if (svid.epoch, svid.attributes) == (identity.epoch, given):
            entry.svid, entry.due = svid, _due(svid)
        return entry

    def current(self, now: float) -> dict[str, Svid]:
        """Those that are valid, by workload name."""
        return {
            name: entry.svid
            for name, entry in self._entries.items()
            if entry.svid and now < entry.svid.not_after
        }

    def reissue(self, cas: Collection[bytes], within_s: int) -> None:
        """The keys of these CAs may be stolen: ask anew for what they signed, each at a moment of its own."""
        now = time.time()
        for entry in self._entries.values():
            if entry.svid is not None and entry.svid.chain[1] in cas:
                entry.due = min(entry.due, now + random.uniform(0, within_s))  # noqa: S311 - jitter
        self._wanted.set()

    async def run(self) -> None:
        while True:
            self._wanted.clear()
            now = time.time()
            due = [entry for entry in self._entries.values() if entry.due <= now]
            if due:
                await asyncio.gather(*map(self._renew, due[:AT_ONCE]))
                self._changed()
                continue
            soonest = min((entry.due for entry in self._entries.values()), default=None)
            with contextlib.suppress(TimeoutError):
                # Not for longer: timers of the event loop stand still while the machine sleeps.
                left_s = None if soonest is None else min(LOOK_S, max(0.0, soonest - now))
                async with asyncio.timeout(left_s):
                    await self._wanted.wait()

    async def _renew(self, entry: _Entry) -> None:
        identity = self._identity
        if identity is None:
            raise RuntimeError("workloads are wanted below a node")
        try:
            key = keys.generate_p256()
            chain = tuple(await self._issue(entry.workload.name, make_csr(key)))
            entry.svid = made = self._made(key, chain, identity, entry.workload.name)
            kept_on_disk.save(self._directory, entry.workload.name, made)
            entry.due, entry.retry_s = _due(made), FIRST_RETRY_S
            log.info("workload_certified", workload=entry.workload.name, not_after=made.not_after)
        except (CallError, IdentityError) as exc:
            log.warning("workload_not_certified", workload=entry.workload.name, reason=str(exc))
            entry.due = time.time() + entry.retry_s * random.uniform(0.5, 1.0)  # noqa: S311 - jitter
            entry.retry_s = min(entry.retry_s * 2, MAX_RETRY_S)

    def _made(
        self, key: ec.EllipticCurvePrivateKey, chain: tuple[bytes, ...], identity: Identity, name: str
    ) -> Svid:
        known = self._roots()
        root = known.above(chain[-1] if chain else b"")
        made = make(key, chain, root, self._cas, identity, name, int(time.time()))
        return replace(made, above=crosses(known.changes, known.believed, chain[1]))


def _due(svid: Svid) -> float:
    return renew_at(svid.not_before, svid.not_after, random.uniform(-1, 1))  # noqa: S311 - jitter


def make(
    key: ec.EllipticCurvePrivateKey,
    chain: tuple[bytes, ...],
    root: bytes,
    cas: tuple[bytes, ...],
    node: Identity,
    name: str,
    now: int,
) -> Svid:
    """Verify that key, leaf, one of the workload CAs and root belong together, and to this workload of this node."""
    wanted = spiffe.workload_id(node.spiffe_id, name)
    try:
        if len(chain) != 2:  # noqa: PLR2004 - leaf and issuing CA
            raise IdentityError("a chain is a leaf and its issuing CA")
        if chain[1] not in cas:
            raise IdentityError("its CA is none that the mesh signs for workloads with")
        verify.check_issuing_ca(chain[1], root, CaKind.WORKLOAD, now)
        found = verify.verify_workload(chain[0], [chain[1]], wanted.trust_domain, now)
    except CertError as exc:
        raise IdentityError(f"certificate cannot be used: {exc}") from exc
    if (found.spiffe_id, found.spki_sha256) != (wanted, keys.spki_sha256(key.public_key())):
        raise IdentityError("certificate is for another workload or key")
    return Svid(
        spiffe_id=str(wanted),
        key=key,
        chain=chain,
        epoch=found.epoch,
        attributes=found.attributes,
        not_before=found.not_before,
        not_after=found.not_after,
    )
