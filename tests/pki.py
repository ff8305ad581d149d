"""A whole test PKI made at run time: root, issuing CAs, keys. No key or certificate is ever in git."""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from certs import authority, issue, keys, spiffe
from certs.attributes import Attributes
from certs.profile import CaKind, Profile

TD = "acme.example"
NOW = 1_800_000_000
CLINICAL = Attributes(
    tier=2,
    groups=frozenset({"clinical"}),
    purposes=frozenset({"treatment"}),
    regions=frozenset({"fr"}),
    class_floor=1,
    class_ceiling=3,
)


@dataclass
class Leaf:
    """A key and its certificate."""

    key: ec.EllipticCurvePrivateKey
    der: bytes
    prepared: issue.Prepared | None


@dataclass
class Pki:
    """Root, a node CA, a control-plane CA; times count from `now`."""

    now: int = NOW
    trust_domain: str = TD
    serial: int = 1000
    root_key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_p256)
    node_ca_key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_p256)
    cp_ca_key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_p256)
    workload_ca_key: ec.EllipticCurvePrivateKey = field(default_factory=keys.generate_p256)

    def __post_init__(self) -> None:
        self.root = authority.make_root(self.trust_domain, self.root_key, serial=1, now=self.now)
        self.node_ca = self._ca(CaKind.NODE, self.node_ca_key, 2)
        self.cp_ca = self._ca(CaKind.CONTROL_PLANE, self.cp_ca_key, 3)
        self.workload_ca = self._ca(CaKind.WORKLOAD, self.workload_ca_key, 4)

    def _ca(self, kind: CaKind, key: ec.EllipticCurvePrivateKey, serial: int) -> bytes:
        return authority.make_issuing_ca(
            kind, self.root, self.root_key, key.public_key(), serial=serial, now=self.now
        )

    def node(
        self,
        name: str = "gpu-1",
        site: str = "paris",
        jurisdiction: str = "FR",
        attributes: Attributes = CLINICAL,
        epoch: int = 1,
        profile: Profile = Profile(),
    ) -> Leaf:
        self.serial += 1
        key = keys.generate_p256()
        prepared = issue.prepare(
            profile,
            spiffe.node_id(self.trust_domain, jurisdiction, site, name),
            attributes,
            epoch,
            public_key=key.public_key(),
            issuer=issue.IssuingCa(self.node_ca, "node-ca"),
            serial=self.serial,
            now=self.now,
        )
        return Leaf(key, issue.sign(prepared, lambda tbs: keys.sign(self.node_ca_key, tbs)), prepared)

    def workload(
        self,
        spiffe_id: spiffe.SpiffeId,
        key: ec.EllipticCurvePrivateKey,
        attributes: Attributes,
        epoch: int = 1,
    ) -> tuple[bytes, bytes]:
        """The chain of a workload's certificate."""
        self.serial += 1
        prepared = issue.prepare_workload(
            Profile(),
            spiffe_id,
            attributes,
            epoch,
            public_key=key.public_key(),
            issuer=issue.IssuingCa(self.workload_ca, "workload-ca"),
            serial=self.serial,
            now=self.now,
        )
        leaf = issue.sign(prepared, lambda tbs: keys.sign(self.workload_ca_key, tbs))
        return leaf, self.workload_ca

    def control_plane(self, spiffe_id: spiffe.SpiffeId | None = None, profile: Profile = Profile()) -> Leaf:
        self.serial += 1
        key = keys.generate_p256()
        prepared = issue.prepare_control_plane(
            profile,
            spiffe_id or spiffe.control_plane_id(self.trust_domain, "replica-1"),
            public_key=key.public_key(),
            issuer=issue.IssuingCa(self.cp_ca, "cp-ca"),
            serial=self.serial,
            now=self.now,
        )
        return Leaf(key, issue.sign(prepared, lambda tbs: keys.sign(self.cp_ca_key, tbs)), prepared)
