"""Roots that follow one another: right changes, for tests to bend one thing at a time."""

from dataclasses import dataclass, field, replace

from cryptography.hazmat.primitives.asymmetric import ec
from pki import NOW, TD, Pki

from certs import authority, envelope, keys
from certs.profile import CaKind
from policies import documents as d
from policies import payloads


@dataclass
class Root:
    """A key and its self-signed certificate."""

    serial: int
    key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_p256)
    domain: str = TD
    der: bytes = b""
    now: int = NOW

    def __post_init__(self) -> None:
        self.der = self.der or authority.make_root(self.domain, self.key, serial=self.serial, now=self.now)

    def signer(self) -> envelope.Signer:
        return "root", lambda data: keys.sign(self.key, data)

    def ca(self, kind: CaKind, key: ec.EllipticCurvePrivateKey, serial: int = 77) -> bytes:
        return authority.make_issuing_ca(
            kind, self.der, self.key, key.public_key(), serial=serial, now=self.now
        )


def first(pki: Pki) -> Root:
    return Root(1, pki.root_key, pki.trust_domain, pki.root, pki.now)


def document(old: Root, new: Root, *, version: int = 2, **changes: object) -> d.RootChange:
    cross = authority.make_cross(new.der, old.der, old.key, serial=new.serial + 1, now=old.now)
    made = d.RootChange(trust_domain=TD, version=version, old=old.der, new=new.der, cross=cross)
    return replace(made, **changes)  # type: ignore[arg-type]  # what is bent is the test's business


def sealed(said: d.RootChange, *by: Root, kind: str = d.TYPE_ROOT_CHANGE) -> bytes:
    signers = [one.signer() for one in by]
    return envelope.sign_envelope(kind, payloads.dump_root_change(said), signers).to_json()


def change(old: Root, new: Root, version: int = 2) -> bytes:
    return sealed(document(old, new, version=version), old, new)
