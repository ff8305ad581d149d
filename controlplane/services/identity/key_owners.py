"""One public key, one node: whom a key was certified for, for as long as what was issued is kept.

1. A key's row is compared and written in the commit that stores its certificate: of two nodes that come with one key at the
   same time, at whatever replicas, one gets it.
2. A node may have its own key certified again, and use it for its workloads; the row lasts as long as the last certificate.
3. It is forgotten when that certificate's record is, and not before.
"""

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

import structlog
from cryptography.hazmat.primitives.asymmetric import ec

from certs.keys import spki_sha256
from controlplane import model
from controlplane.errors import DeniedError
from controlplane.model import KeyRow
from controlplane.services import rows
from controlplane.services.rows import Stored
from controlplane.store.base import MAX_OPERATIONS, Store

log = structlog.get_logger()
TOGETHER = MAX_OPERATIONS // 2 - 1  # each is compared and deleted
Commit = Callable[..., Awaitable[int]]


class KeyTakenError(DeniedError):
    """The key was certified for another node. Two nodes with one key are one node, whoever revokes one of them."""

    def __init__(self, spki: str) -> None:
        hint = "was this machine copied? empty the state_dir of the copy, so that it makes a key of its own"
        super().__init__(f"key `{spki}` is another node's", hint=hint)


def unclaimed(spki: str, node: str) -> Stored[KeyRow]:
    """A key that nobody had yet: the commit finds out whether that is so."""
    return Stored(rows.key_owner(spki), KeyRow(node=node, not_after=0), 0)


async def check(store: Store, public_key: ec.EllipticCurvePublicKey, node: str) -> Stored[KeyRow]:
    """The row of this key, for a certificate of `node` (`<node>.<site>`); DeniedError: it was revoked, or is another node's."""
    spki = spki_sha256(public_key).hex()
    revoked, found = await asyncio.gather(
        store.get(rows.revoked_key(spki)), rows.find(store, KeyRow, rows.key_owner(spki))
    )
    if revoked is not None:
        raise DeniedError(f"key `{spki}` is revoked", hint="make another key")
    if found is None:
        return unclaimed(spki, node)
    if found.row.node != node:
        log.warning("key_of_another_node", node=node, owner=found.row.node, key=spki)
        raise KeyTakenError(spki)
    return found


def claim(seen: Stored[KeyRow], not_after: int) -> tuple[Mapping[str, int], Mapping[str, bytes]]:
    """What the commit of a certificate that ends then compares, and what it writes."""
    row = dataclasses.replace(seen.row, not_after=max(seen.row.not_after, not_after))
    return {seen.key: seen.revision}, {seen.key: model.dump(row)}


async def forget(store: Store, commit: Commit, spkis: Collection[str], before: int) -> None:
    """Rows of these keys, if all that was certified for them ended before then; before the certificates' own records go."""
    names = [rows.key_owner(spki) for spki in sorted(set(spkis))]
    for start in range(0, len(names), TOGETHER):
        lists, _ = await store.snapshot(names[start : start + TOGETHER])
        found: Sequence[tuple[str, int, KeyRow]] = [
            (item.key, item.revision, model.load(KeyRow, item.value)) for one in lists for item in one
        ]
        ended = {key: revision for key, revision, row in found if row.not_after < before}
        if ended:
            await commit(expect=ended, put={}, delete=list(ended))
