"""The keys this replica works with: which CA issues, which key signs documents, which witnesses.

The file holds what the replica began with. Which CA issues now is in the store (`ca_authorities`), and followed here.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from certs import document_keys, envelope
from certs.issue import IssuingCa
from certs.profile import CaKind
from controlplane.authority_rows import RootChangeRow
from controlplane.errors import CorruptError, UnavailableError
from controlplane.services.authority import root_files
from controlplane.services.authority import standing as standings
from controlplane.services.authority.standing import Standing
from controlplane.signer.base import Signer

FILE = "authorities.json"


@dataclass(slots=True, kw_only=True)
class Authorities:
    """Public halves, and how to sign with the private ones. Everybody holds this one object: CAs change by `follow` only."""

    trust_domain: str
    root: bytes  # DER: what this mesh was made with, and is known by
    node_ca: IssuingCa
    control_plane_ca: IssuingCa
    workload_ca: IssuingCa
    document_key_name: str
    document_key: bytes  # as `certs.document_keys` has it
    witness_key_name: str
    witness_key: bytes
    delegation: bytes  # DSSE JSON, signed by the root
    signer: Signer
    without: frozenset[CaKind] = frozenset()
    """Kinds of which no CA of ours may issue: retired or tainted, and no other is active yet."""
    root_changes: tuple[RootChangeRow, ...] = ()
    """How the root was changed since this mesh was made."""
    standing: Standing | None = None
    """What follows from that."""

    @property
    def now(self) -> Standing:
        """Which root signs, and which are believed."""
        return self.standing or standings.alone(self.root)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """Those that are believed, oldest first."""
        return self.now.roots

    @property
    def root_sha256(self) -> str:
        """What newcomers pin: the oldest, from which changes lead on to the others. None of these leads back."""
        return hashlib.sha256(self.roots[0]).hexdigest()

    def stand(self, changes: Sequence[RootChangeRow]) -> bool:
        """Go by these changes of the root, oldest first; False: they are those from before."""
        if self.standing is not None and self.root_changes == tuple(changes):
            return False
        self.standing = standings.of(self.root, self.trust_domain, changes)
        self.root_changes = tuple(changes)
        return True

    def ca(self, kind: CaKind) -> IssuingCa:
        """The one that issues now."""
        cas = {
            CaKind.NODE: self.node_ca,
            CaKind.CONTROL_PLANE: self.control_plane_ca,
            CaKind.WORKLOAD: self.workload_ca,
        }
        return cas[kind]

    def follow(self, active: Iterable[tuple[CaKind, IssuingCa]]) -> None:
        """Issue with these from now on: of each kind the last. Of a kind that is not among them nothing is issued."""
        chosen = dict(active)
        self.node_ca = chosen.get(CaKind.NODE, self.node_ca)
        self.control_plane_ca = chosen.get(CaKind.CONTROL_PLANE, self.control_plane_ca)
        self.workload_ca = chosen.get(CaKind.WORKLOAD, self.workload_ca)
        self.without = frozenset(CaKind) - set(chosen)

    def check_issues(self, kind: CaKind) -> None:
        """UnavailableError while no CA of this kind is ours to issue with: another replica has to."""
        if kind in self.without:
            raise UnavailableError(f"no `{kind.value}` CA is active here", hint="writ authority list")

    def document_signers(self) -> list[envelope.Signer]:
        """All that must sign a document of ours: one for each algorithm of our document key."""
        return [
            (
                envelope.key_id(part.public),
                self.signing(document_key_name(self.document_key_name, part.algorithm)),
            )
            for part in document_keys.parts(self.document_key)
        ]

    def signing(self, key_name: str) -> Callable[[bytes], bytes]:
        return lambda data: self.signer.sign(key_name, data)


def document_key_name(name: str, algorithm: str) -> str:
    """Under which name the signer holds one part of a document key."""
    return name if algorithm == document_keys.ED25519 else f"{name}-{algorithm}"


def save(directory: Path, authorities: Authorities) -> None:
    """Public material only; private keys are the signer's."""
    document = {
        "trust_domain": authorities.trust_domain,
        "root": authorities.root.hex(),
        "node_ca": [authorities.node_ca.certificate.hex(), authorities.node_ca.key_name],
        "control_plane_ca": [
            authorities.control_plane_ca.certificate.hex(),
            authorities.control_plane_ca.key_name,
        ],
        "workload_ca": [authorities.workload_ca.certificate.hex(), authorities.workload_ca.key_name],
        "documents": [authorities.document_key.hex(), authorities.document_key_name],
        "witness": [authorities.witness_key.hex(), authorities.witness_key_name],
        "delegation": authorities.delegation.decode(),
    }
    (directory / FILE).write_text(json.dumps(document, indent=1))


def load(directory: Path, signer: Signer) -> Authorities:
    try:
        f = json.loads((directory / FILE).read_text())
        if "workload_ca" not in f:
            hint = (
                "make a new mesh with `writ init --dir`, or go on with the version of Writ that made this one"
            )
            raise CorruptError(f"the mesh in `{directory}` was made before workloads had a CA", hint=hint)
        made = Authorities(
            trust_domain=f["trust_domain"],
            root=bytes.fromhex(f["root"]),
            node_ca=_ca(f["node_ca"]),
            control_plane_ca=_ca(f["control_plane_ca"]),
            workload_ca=_ca(f["workload_ca"]),
            document_key=bytes.fromhex(f["documents"][0]),
            document_key_name=f["documents"][1],
            witness_key=bytes.fromhex(f["witness"][0]),
            witness_key_name=f["witness"][1],
            delegation=f["delegation"].encode(),
            signer=signer,
        )
        made.stand(root_files.load(directory))
        return made  # noqa: TRY300 - what is read is what may fail
    except FileNotFoundError as exc:
        raise CorruptError(f"there is no mesh in `{directory}`", hint="make one with `writ init`") from exc
    except (ValueError, KeyError, TypeError, IndexError) as exc:
        raise CorruptError(f"`{directory / FILE}` is malformed") from exc


def _ca(pair: list[str]) -> IssuingCa:
    return IssuingCa(bytes.fromhex(pair[0]), pair[1])
