"""What is stored of authorities: CAs, JWT keys, roots, and the control planes that hold them. Read and written by `model`."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedCaRow:
    """An issuing CA that was taken out before its end: the root's list names it until then."""

    serial: str  # hex
    kind: str
    replica: str
    at: int
    not_after: int
    reason: str  # as RFC 5280 5.3.1 names it, in the words of `cryptography`


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCrlRow:
    """The newest list of revoked CAs that the root has signed."""

    der: str  # hex


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtKeyRow:
    """A key that signs JWT-SVIDs, did, or will."""

    key_id: str
    replica: str  # whose signer holds it
    key_name: str  # there
    public: str  # hex: SubjectPublicKeyInfo
    state: str  # prepared, active, old
    since: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CaRow:
    """An issuing CA of a replica. Everybody lists it from `prepared` on; a row is no proof, the root's signature is."""

    key_id: str  # of its public key
    kind: str  # of `certs.profile.CaKind`
    replica: str  # whose signer holds its key
    key_name: str  # there
    public: str  # hex: SubjectPublicKeyInfo
    state: str  # requested, prepared, active, old, tainted
    since: int
    certificate: str = ""  # hex DER; empty while it is only requested
    proof: str = (
        ""  # hex, one for each part of the document key of the replica, for a replica that holds the root
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRow:
    """A control plane among its equals: its document key, as everybody must know it. Hex; certificates DER."""

    name: str
    root: str
    document_key: str
    address: str = ""  # host:port of its API
    issues: bool = False  # its CAs may be used: connected agents have acknowledged them
    since: int = 0  # Unix seconds: when it joined


@dataclass(frozen=True, slots=True, kw_only=True)
class DelegationRow:
    """The newest delegation: which document keys the root has delegated."""

    version: int
    envelope: str  # DSSE JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class RootChangeRow:
    """A change of the root, and how far it has come. A row is no proof: both roots have signed what is in it."""

    version: int  # of the root that it leads to
    envelope: str  # DSSE JSON
    state: str  # prepared, active, done: of `services.authority.standing`
    since: int  # Unix seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessKeyRow:
    """The key that cosigns logs, in a store that seals what it holds: all replicas are one witness."""

    private: str  # PKCS#8 PEM
