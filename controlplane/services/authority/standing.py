"""Which root signs, and which are believed, by the changes that the store holds. Pure.

1. A change is *prepared*: both roots are in the trust document, the old one signs. Then *active*: both are, the new one signs.
   Then *done*: the old one is believed no more.
2. One change at a time. The chain begins at the root that this replica was made with; its own signatures prove each step.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from controlplane.authority_rows import RootChangeRow
from controlplane.errors import CorruptError
from policies import roots
from policies.errors import DocumentError

PREPARED, ACTIVE, DONE = "prepared", "active", "done"
OLD, RETIRED = "old", "retired"
"""Of a root that was replaced: believed, and no more."""
FIRST = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Certificates (DER). `version` is of the root that signs."""

    roots: tuple[bytes, ...]
    """In the trust document, oldest first."""
    signing: bytes
    version: int = FIRST
    changes: tuple[bytes, ...] = ()
    """All that ever were, for whoever still knows an earlier root."""
    ever: tuple[bytes, ...]
    """Every root that there was."""

    @property
    def key_name(self) -> str:
        """Under which a signer holds the key of the root that signs."""
        return key_name(self.version)

    def key_names(self) -> list[str]:
        """Of all roots that are believed, oldest first."""
        newest = FIRST + len(self.changes)
        return [key_name(version) for version in range(newest + 1 - len(self.roots), newest + 1)]


def key_name(version: int) -> str:
    return "root" if version == FIRST else f"root-{version}"


def alone(root: bytes) -> Standing:
    """A mesh that never changed its root."""
    return Standing(roots=(root,), signing=root, ever=(root,))


def of(first: bytes, trust_domain: str, changes: Sequence[RootChangeRow]) -> Standing:
    """After these changes, oldest first; CorruptError when they are no chain from the first root."""
    if not changes:
        return alone(first)
    chain = tuple(row.envelope.encode() for row in changes)
    try:
        walked = roots.follow(roots.pinned(first), chain, trust_domain)
    except DocumentError as exc:
        raise CorruptError(f"the changes of the root do not hold: {exc}") from exc
    last = changes[-1]
    versions = [row.version for row in changes]
    if versions != list(range(FIRST + 1, FIRST + 1 + len(chain))) or walked.version != versions[-1]:
        raise CorruptError("the changes of the root are not numbered as they follow")
    if any(row.state != DONE for row in changes[:-1]):
        raise CorruptError("the changes of the root are no chain")
    before = replace(_signing(walked, last.version - 1, chain), roots=walked.believed[-2:])
    after = replace(before, signing=walked.newest, version=last.version)
    by_state = {PREPARED: before, ACTIVE: after, DONE: replace(after, roots=(walked.newest,))}
    if last.state not in by_state:
        raise CorruptError(f"a change of the root is `{last.state[:32]}`")
    return by_state[last.state]


def rank(changes: Sequence[RootChangeRow]) -> tuple[int, int]:
    """How far a mesh has come."""
    return (len(changes), (PREPARED, ACTIVE, DONE).index(changes[-1].state)) if changes else (0, 0)


def history(
    first: bytes, trust_domain: str, changes: Sequence[RootChangeRow]
) -> list[tuple[bytes, str, int]]:
    """Every root (DER), its state and since when, oldest first."""
    chain = [row.envelope.encode() for row in changes]
    certificates = roots.follow(roots.pinned(first), chain, trust_domain).believed
    began = [0, *(row.since for row in changes)]
    states = [ACTIVE] * len(certificates)
    for at, row in enumerate(changes):
        states[at] = {PREPARED: ACTIVE, ACTIVE: OLD, DONE: RETIRED}[row.state]
        states[at + 1] = PREPARED if row.state == PREPARED else ACTIVE
    return list(zip(certificates, states, began, strict=True))


def _signing(walked: roots.Roots, version: int, chain: tuple[bytes, ...]) -> Standing:
    return Standing(
        roots=(), signing=walked.believed[-2], version=version, changes=chain, ever=walked.believed
    )
