"""The control plane as witness of nodes' logs: a checkpoint is cosigned once it is shown to extend the last one.

As c2sp.org/tlog-witness: compare and persist first, in one commit, then sign. A node can then neither rewrite, truncate
nor fork its past, and the control plane sees no record.
"""

import time
from collections.abc import Callable

from audit import merkle, note
from audit.errors import NoteError, ProofError
from certs import spiffe
from controlplane import model
from controlplane.errors import (
    ConflictError,
    DeniedError,
    InvalidError,
    PreconditionError,
    RolledBackError,
)
from controlplane.model import EpochRow, NodeRow, WitnessRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.store.base import Store

MAX_TALLIES = 512 << 10
OWN = f"witness/{spiffe.CONTROL_PLANE}/"


class Witness:
    """Cosigns, and remembers what it cosigned. `accuse` is told when it turns out to have forgotten."""

    def __init__(
        self, store: Store, made: Authorities, accuse: Callable[[str], None] = lambda _what: None
    ) -> None:
        self._store, self._made, self._accuse = store, made, accuse
        self.key = note.VerifierKey(f"{made.trust_domain}/witness", note.COSIGNATURE, made.witness_key)

    async def cosign(
        self, node: NodeRow, old_size: int, proof: list[bytes], text: str, tallies: bytes
    ) -> str:
        """One cosignature line. ConflictError names the size we hold; ProofError's case is an alarm: a fork."""
        if len(tallies) > MAX_TALLIES:
            raise InvalidError(f"tallies are larger than {MAX_TALLIES} bytes")
        head = _open(origin(node), node.evidence_key, text)
        key = rows.witness_key(node.node, node.site)
        return await self._extend(
            key, head, old_size, proof, text, tallies=tallies.decode("utf-8", "replace")
        )

    async def cosign_own(self, key: note.VerifierKey, old_size: int, proof: list[bytes], text: str) -> str:
        """As `cosign`, for the log of a control plane. Who holds its key is said by the store, as of nodes'."""
        head = _open(key.name, str(key), text)
        place = "witness/" + key.name.partition("/audit/")[2]
        return await self._extend(place, head, old_size, proof, text, evidence_key=str(key))

    async def _extend(
        self, key: str, head: note.Checkpoint, old_size: int, proof: list[bytes], text: str, **facts: str
    ) -> str:
        before = await rows.find(self._store, WitnessRow, key)
        size, root = (before.row.size, bytes.fromhex(before.row.root)) if before else (0, merkle.EMPTY)
        if old_size != size:
            raise PreconditionError(f"the last cosigned size is {size}", hint=str(size))
        try:
            merkle.verify_consistency(size, root, head.size, head.root, proof)
        except ProofError as exc:
            raise ConflictError(f"log `{head.origin}` does not extend what was cosigned: {exc}") from exc
        row = WitnessRow(
            origin=head.origin,
            size=head.size,
            root=head.root.hex(),
            checkpoint=text,
            cosigned_at=int(time.time()),
            **facts,
        )
        await self._store.commit(expect={key: before.revision if before else 0}, put={key: model.dump(row)})
        return self._line(row)

    async def remember(self, node: NodeRow, text: str) -> None:
        """A node shows what we cosigned for it. What an epoch before lost is taken over; else our store is older than we are.

        RolledBackError: this control plane must not go on.
        """
        try:
            mine = [note.parse_key(node.evidence_key), self.key]
            head, signers = note.open_checkpoint(text, mine)
        except NoteError as exc:
            raise DeniedError(f"checkpoint of `{node.short}`: {exc}") from exc
        cosigned_at = signers.get(self.key.name, 0)
        if not cosigned_at or head.origin != origin(node):
            raise DeniedError(f"this checkpoint of `{node.short}` was not cosigned")
        key = rows.witness_key(node.node, node.site)
        before = await rows.find(self._store, WitnessRow, key)
        if before is not None and before.row.size >= head.size:
            return
        epoch = await rows.find(self._store, EpochRow, rows.EPOCH)
        if epoch is None or cosigned_at >= epoch.row.opened_at:
            known = before.row.size if before else 0
            what = f"`{node.short}` has {head.size} entries cosigned, the store knows of {known}"
            self._accuse(what)
            raise RolledBackError(f"the store is older than the mesh: {what}")
        row = WitnessRow(
            origin=head.origin,
            size=head.size,
            root=head.root.hex(),
            checkpoint=_without(text, self.key.name),
            cosigned_at=cosigned_at,
        )
        await self._store.commit(expect={key: before.revision if before else 0}, put={key: model.dump(row)})

    def cosigned(self, row: WitnessRow) -> str:
        """The checkpoint with its cosignature, made again from what is stored."""
        return row.checkpoint + self._line(row)

    def _line(self, row: WitnessRow) -> str:
        # Ed25519 is deterministic: the stored text and time give the same line, however often it is asked for.
        sign = self._made.signing(self._made.witness_key_name)
        return note.cosign(row.checkpoint, self.key, sign, row.cosigned_at)

    async def all(self) -> list[tuple[NodeRow, WitnessRow]]:
        """Every log that was cosigned, with its node."""
        nodes = {
            rows.witness_key(s.row.node, s.row.site): s.row
            for s in await rows.every(self._store, NodeRow, "node/")
        }
        found = await rows.every(self._store, WitnessRow, "witness/")
        return [(nodes[stored.key], stored.row) for stored in found if stored.key in nodes]

    async def own(self) -> list[WitnessRow]:
        """The logs of control planes."""
        return [stored.row for stored in await rows.every(self._store, WitnessRow, OWN)]


def _open(name: str, key_text: str, text: str) -> note.Checkpoint:
    try:
        key = note.parse_key(key_text)
        head, _ = note.open_checkpoint(text, [key])
    except NoteError as exc:
        raise DeniedError(f"checkpoint of `{name}`: {exc}") from exc
    if head.origin != name or key.name != name:
        raise DeniedError(f"`{head.origin}` is not the log `{name}`")
    return head


def own_origin(trust_domain: str, replica: str) -> str:
    """The name of a control plane's log: where nodes have their site, it has what no site can be called."""
    return f"{trust_domain}/audit/{spiffe.CONTROL_PLANE}/{replica}"


def _without(text: str, signer: str) -> str:
    """A note without one signer's line."""
    return "\n".join(line for line in text.split("\n") if not line.startswith(f"{note.DASH}{signer} "))


def origin(node: NodeRow) -> str:
    """The name of a node's log."""
    return f"{node.trust_domain}/audit/{node.site}/{node.node}"
