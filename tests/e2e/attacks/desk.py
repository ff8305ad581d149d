"""The control plane's services as a harness: a store that can fail, and a signer that remembers what it was given to sign."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

from pki import NOW, TD

from audit import merkle, note
from certs import keys
from certs.csr import make_csr
from certs.profile import Profile
from controlplane import model
from controlplane.attest import token as tokens
from controlplane.attest.base import JOIN_TOKEN, Evidence
from controlplane.attest.challenges import Challenges
from controlplane.attest.token import JoinTokens
from controlplane.errors import ControlPlaneError
from controlplane.model import CertificateRow, NodeRow, SiteRow, WitnessRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.evidence.witness import Witness, origin
from controlplane.services.identity.attestation import Attestation, Configured, StoredInvitations
from controlplane.services.identity.enrolment import Enrolment
from controlplane.services.identity.issuance import Issuance
from controlplane.services.identity.nodes import Nodes
from controlplane.services.mesh import setup
from controlplane.services.push.hub import Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.base import Expect, Item
from controlplane.store.memory import MemoryStore

Work = Callable[["Desk"], Awaitable[bool]]
EVIDENCE = keys.generate_ed25519()


class FaultyStore(MemoryStore):
    """Fails as it is told: `on_read`, `on_commit`. Every commit lets others go first, as over a network."""

    on_read: BaseException | None = None
    on_commit: BaseException | None = None

    async def get(self, key: str) -> Item | None:
        if self.on_read:
            raise self.on_read
        return await super().get(key)

    async def commit(self, *, expect: Expect, put: Mapping[str, bytes], delete: Sequence[str] = ()) -> int:
        await asyncio.sleep(0)
        if self.on_commit:
            raise self.on_commit
        return await super().commit(expect=expect, put=put, delete=delete)


@dataclass
class NotingSigner:
    """The real signer, and what was stored whenever it signed."""

    inner: FileSigner
    store: FaultyStore | None = None
    unstored: list[tuple[str, bytes]] = field(default_factory=list)
    signed: list[str] = field(default_factory=list)

    def sign(self, name: str, data: bytes) -> bytes:
        self.signed.append(name)
        if self.store is not None and not any(_holds(item, data) for item in self.store._items.values()):
            self.unstored.append((name, data))
        return self.inner.sign(name, data)


def _holds(item: Item, data: bytes) -> bool:
    """Is this what is signed, or what it says?"""
    if item.key.startswith("certificate/"):
        return bytes.fromhex(model.load(CertificateRow, item.value).tbs) == data
    if item.key.startswith("witness/"):
        row = model.load(WitnessRow, item.value)
        return note._cosigned(note.split(row.checkpoint)[0], row.cosigned_at) == data
    return False


class Desk:
    """Everything anew for each attack but the keys."""

    def __init__(self, directory: Path) -> None:
        self._files = FileSigner(directory / "keys", b"a passphrase of this test")
        made = setup.make_mesh(TD, directory, self._files, NOW)
        self._made = made
        self.now = NOW

    def through(self, attack: Work) -> bool:
        return asyncio.run(self._anew(attack))

    async def _anew(self, attack: Work) -> bool:
        self.now, self.store = NOW, FaultyStore()
        self.signer = NotingSigner(self._files, self.store)
        self.made: Authorities = changed(self._made, signer=self.signer)
        self.publisher = Publisher(
            self.store, self.made, Hub(), lease_s=60, heartbeat_s=1, clock=lambda: float(self.now)
        )
        self.nodes = Nodes(self.store, TD, self.publisher.refresh, lambda: float(self.now))
        issuance = Issuance(self.store, self.made, Profile())
        clock = lambda: self.now  # noqa: E731 - what all are told
        self.challenges = Challenges(clock)
        self.enrolment = Enrolment(
            self.store,
            self.made,
            issuance,
            self.nodes,
            Attestation(self.store, TD, self.attestors(clock), clock),
            self.challenges,
            grace_s=60,
            clock=clock,
            node_cas=lambda: (self.made.node_ca.certificate,),
        )
        self.witness = Witness(self.store, self.made)
        await self.store.commit(
            expect={},
            put={rows.site_key("paris"): model.dump(SiteRow(name="paris", jurisdiction="FR", labels={}))},
        )
        return await attack(self)

    def attestors(self, clock: Callable[[], int]) -> dict[str, Configured]:
        tokens_ = JoinTokens(StoredInvitations(self.store), tier=1, clock=clock)
        return {JOIN_TOKEN: Configured(attestor=tokens_, tier=1)}

    async def invited(self, name: str) -> str:
        token = tokens.JoinToken(
            secret=name.encode().ljust(32, b"."),
            root_sha256="",
            address="",
            trust_domain=TD,
            node=name,
            site="paris",
        )
        await self.nodes.create_token(name, "paris", attributes=None, token=token, expires_at=self.now + 600)
        return token.text()

    async def enrol(self, text: str, idempotency: str = "a" * 20, source: str = "here") -> Any:
        """The certificate chain, or the error."""
        try:
            shown = Evidence(kind=JOIN_TOKEN, csr=make_csr(keys.generate_p256()), bearer=text)
            return (await self.enrolment.enrol(shown, idempotency, source)).chain
        except ControlPlaneError as exc:
            return exc

    def log(self, name: str, *, entries: Sequence[bytes], of: str = "") -> "Log":
        """A log of node `name`, as its agent keeps it; `of` another name in its checkpoints."""
        row = NodeRow(trust_domain=TD, node=name, site="paris", jurisdiction="FR")
        named = origin(row).replace(name, of) if of else origin(row)
        key = note.VerifierKey(named, note.NOTE, keys.raw(EVIDENCE.public_key()))
        return Log(changed(row, evidence_key=str(key)), key, [merkle.leaf_hash(entry) for entry in entries])

    async def cosign(self, log: "Log", old: int, proof: Sequence[bytes] | None = None) -> bool:
        """Was it cosigned?"""
        try:
            given = log.proof(old) if proof is None else list(proof)
            return bool(await self.witness.cosign(log.row, old, given, log.checkpoint(), b""))
        except ControlPlaneError:
            return False


@dataclass
class Log:
    """Leaf hashes, and who signs for them."""

    row: NodeRow
    key: note.VerifierKey
    leaves: list[bytes]

    def _nodes(self, level: int, index: int) -> bytes:
        return merkle.root_of(self.leaves[index << level : (index + 1) << level])

    def checkpoint(self) -> str:
        size = len(self.leaves)
        head = note.Checkpoint(self.key.name, size, merkle.tree_root(size, self._nodes))
        return note.sign_checkpoint(head, self.key, EVIDENCE.sign)

    def proof(self, old: int) -> list[bytes]:
        return merkle.consistency_proof(old, len(self.leaves), self._nodes)
