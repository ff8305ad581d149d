"""Which roots are believed: the one that was pinned, and those that changes lead to from there. Bytes in, values out; pure.

As The Update Framework changes its root (specification 5.3), with a chain that is walked from where the reader stands:
1. A change is signed by the root before *and* by the next one, over both certificates: nobody who lacks either key makes one.
   No document key, no issuing CA and no control plane can.
2. It leads on from the newest root that is believed, its version is the next, and the next root is one (`certs.roots`).
3. What leads up to the newest root says nothing new and is passed over. A chain that meets none of the roots that are believed
   is refused whole; one that ends with them changes nothing.
4. The root before is believed as well, until a trust document lists it no more: that is the caller's to hear, and it does not
   come back.
Whoever still pins a root whose key was stolen after it had been replaced can be led astray by the thief: he is where the thief is.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cryptography.hazmat.primitives.asymmetric import ec

from certs import envelope
from certs import roots as certificates
from certs.errors import CertError, ChainError, EnvelopeError
from certs.errors import ExpiredError as EndedError
from certs.keys import is_p256
from certs.profile import CaKind
from certs.verify import check_issuing_ca_of, load
from policies import documents as d
from policies import payloads
from policies.errors import AudienceError, ContentError, RollbackError, SignatureError

MAX_CHANGES = 16
"""A root lives ten years."""


@dataclass(frozen=True, slots=True)
class Roots:
    """Certificates (DER), oldest first; `changes` led here."""

    believed: tuple[bytes, ...]
    changes: tuple[bytes, ...] = ()
    version: int = 0
    """Of the newest; 0: nothing but the pin is known of it."""

    @property
    def newest(self) -> bytes:
        return self.believed[-1]

    def signed(self, parsed: envelope.Envelope, kind: str) -> tuple[bytes, bytes]:
        """Which of them signed it, and its payload; SignatureError for none."""
        refused = ""
        for root in self.believed:
            try:
                return root, envelope.verify_p256(parsed, kind, public_key(root))
            except EnvelopeError as exc:
                refused = str(exc)
        raise SignatureError(f"{kind}: {refused}")

    def listed(self, offered: Sequence[bytes]) -> "Roots":
        """Those that are believed once a trust document lists `offered`: what is older than these is believed no more."""
        if not offered or offered[0] not in self.believed:
            raise ContentError("the trust document does not begin with a root that we believe")
        left = self.since(offered[0])
        if tuple(offered) != left.believed[: len(offered)]:
            raise ContentError("the trust document lists a root that no root we believe vouches for")
        return left

    def since(self, root: bytes) -> "Roots":
        """Without those before `root`."""
        return replace(self, believed=self.believed[self.believed.index(root) :])

    def above(self, ca: bytes) -> bytes:
        """The root that a CA names, to be verified by; the newest for one that names none, which then does not hold."""
        try:
            issuer = load(ca).issuer
        except ChainError:
            return self.newest
        return next((root for root in self.believed if load(root).subject == issuer), self.newest)


def pinned(root: bytes) -> Roots:
    """RuntimeError for what could be no root: whoever pins has looked."""
    public_key(root)
    return Roots((root,))


def public_key(root: bytes) -> ec.EllipticCurvePublicKey:
    key = load(root).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        raise RuntimeError("the pinned root must hold a P-256 key")
    return key


def follow(roots: Roots, chain: Sequence[bytes], trust_domain: str) -> Roots:
    """The roots that are believed once this chain of changes, oldest first, is known; DocumentError, and nothing else is."""
    if len(chain) > MAX_CHANGES:
        raise ContentError(
            f"a chain of `{len(chain)}` changes of the root is over the limit of `{MAX_CHANGES}`"
        )
    said = [_read(data) for data in chain]
    behind = next((at for at, one in enumerate(said) if one.old == roots.newest), None)
    if behind is None:  # (3)
        if said and all(one.new not in roots.believed for one in said):
            raise SignatureError("no change of the root leads on from one that we believe")
        return roots
    for data in chain[behind:]:
        roots = _step(roots, data, trust_domain)
    return roots


def named(chain: Sequence[bytes], sha256: str) -> bytes | None:
    """The root of this hash, if a change names it as the one before. The hash proves it, and nothing else is believed."""
    for data in chain[:MAX_CHANGES]:
        old = _read(data).old
        if hashlib.sha256(old).hexdigest() == sha256:
            return old
    return None


def alive(cas: Sequence[bytes], roots: Sequence[bytes], kind: CaKind, now: int) -> tuple[bytes, ...]:
    """These CAs without those that have ended; ContentError when one is none of `kind` below these roots."""
    found = []
    for ca in cas:
        try:
            check_issuing_ca_of(ca, roots, kind, now)
        except EndedError:
            continue
        except ChainError as exc:
            raise ContentError(f"trust document names a CA that the root did not sign for it: {exc}") from exc
        found.append(ca)
    return tuple(found)


def crosses(changes: Sequence[bytes], believed: Sequence[bytes], ca: bytes) -> tuple[bytes, ...]:
    """What leads from a CA below the next root to the one before, for whoever knows only that; while both are believed.

    The changes were verified. Ours need none of it: for software that was given the old root, and looks no further.
    """
    issuer = load(ca).issuer
    said = (_read(data) for data in changes if len(believed) > 1)
    return tuple(
        one.cross for one in said if one.cross and one.old in believed and load(one.new).subject == issuer
    )


def _step(roots: Roots, data: bytes, trust_domain: str) -> Roots:
    said = _read(data)
    if said.old != roots.newest:  # (2)
        raise SignatureError("a change of the root does not lead on from the one before")
    try:
        certificates.check_next(said.new, said.old, trust_domain)
        certificates.check_cross(said.cross, said.new, said.old, trust_domain)
        both = public_key(said.old), public_key(said.new)
        envelope.verify_p256_all(_parse(data), d.TYPE_ROOT_CHANGE, both)  # (1)
    except EnvelopeError as exc:
        raise SignatureError(f"change of the root: {exc}") from exc
    except CertError as exc:
        raise ContentError(f"change of the root: {exc}") from exc
    if said.trust_domain != trust_domain:
        raise AudienceError(f"document is for the trust domain `{said.trust_domain}`")
    if said.version < 2 or (roots.version and said.version != roots.version + 1):  # noqa: PLR2004 - the first root is 1
        raise RollbackError("change of the root", offered=said.version, trusted=roots.version)
    return Roots((*roots.believed, said.new), (*roots.changes, data), said.version)


def _read(data: bytes) -> d.RootChange:
    """What it says; nothing about who says so."""
    return payloads.load_root_change(_parse(data).payload)


def _parse(data: bytes) -> envelope.Envelope:
    try:
        return envelope.parse(data, payloads.MAX_DOCUMENT_BYTES[d.TYPE_ROOT_CHANGE])
    except EnvelopeError as exc:
        raise SignatureError(f"change of the root: {exc}") from exc
