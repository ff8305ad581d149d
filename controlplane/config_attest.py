"""Settings of the attestors: sections `[join_token]`, `[x509pop]`, `[kubernetes]`. A section that names nobody is off.

Checked here for form; files are read, and templates understood, when attestors are made (`controlplane.attestors`).
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from certs.attributes import Attributes
from certs.errors import ProfileError
from controlplane.errors import InvalidError

DAY_S = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """What evidence of one kind is worth."""

    tier: int
    reattest_s: int  # how long after evidence was shown a renewal needs it anew; 0: never
    match: str  # the template that makes names
    site: str  # of every node that it names; empty: the template says
    attributes: Attributes  # of nodes that nobody has declared


@dataclass(frozen=True, slots=True, kw_only=True)
class X509PopConfig:
    """Machine certificates."""

    ca_files: tuple[Path, ...]  # PEM: the CAs of machines
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesConfig:
    """Service-account tokens of one cluster."""

    issuer: str  # exactly as tokens have it in `iss`
    audience: str
    ca_file: Path | None  # PEM: whose server answers; None: the system's roots
    api_server: (
        str  # https://host:port; asked for keys, and about each token; empty: only the issuer is, for keys
    )
    token_file: Path | None  # who we are there
    service_accounts: tuple[str, ...]  # namespace/name
    trust: Trust


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestConfig:
    """What evidence is accepted; None: of that kind none."""

    join_token_tier: int
    x509pop: X509PopConfig | None
    kubernetes: KubernetesConfig | None


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JoinTokenSettings(_Strict):
    """An operator invited the node: that says little of the machine."""

    tier: int = Field(default=1, ge=0, le=4)


class _Trusted(_Strict):
    tier: int = Field(default=2, ge=0, le=4)
    reattest_s: int = Field(default=DAY_S, ge=0, le=30 * DAY_S)
    match: str = ""
    site: str = ""
    groups: tuple[str, ...] = ()
    purposes: tuple[str, ...] = ()
    regions: tuple[str, ...] = ()
    class_floor: int = Field(default=0, ge=0, le=4)
    class_ceiling: int = Field(default=0, ge=0, le=4)


class X509PopSettings(_Trusted):
    """Machine certificates; off without `ca_files`."""

    ca_files: tuple[Path, ...] = ()


class KubernetesSettings(_Trusted):
    """Service-account tokens; off without `issuer`."""

    issuer: str = ""
    audience: str = "writ"
    ca_file: Path | None = None
    api_server: str = ""
    token_file: Path | None = None
    service_accounts: tuple[str, ...] = ()


def frozen(
    join_token: JoinTokenSettings, x509pop: X509PopSettings, kubernetes: KubernetesSettings
) -> AttestConfig:
    """InvalidError names the key that does not fit the others."""
    return AttestConfig(
        join_token_tier=join_token.tier, x509pop=_x509pop(x509pop), kubernetes=_kubernetes(kubernetes)
    )


def _x509pop(read: X509PopSettings) -> X509PopConfig | None:
    if not read.ca_files:
        return None
    return X509PopConfig(ca_files=read.ca_files, trust=_trust("x509pop", read))


def _kubernetes(read: KubernetesSettings) -> KubernetesConfig | None:
    if not read.issuer:
        return None
    if not read.audience or not read.service_accounts:
        raise InvalidError(
            "`kubernetes.audience` and `kubernetes.service_accounts` say whose tokens count: give both"
        )
    accounts = [one.split("/") for one in read.service_accounts]
    if any(len(parts) != 2 or not all(parts) for parts in accounts):  # noqa: PLR2004 - namespace and name
        raise InvalidError("`kubernetes.service_accounts` must be a list of namespace/name")
    if not read.match.startswith("machine=") and len({namespace for namespace, _ in accounts}) != 1:
        # A pod's name is unique in its namespace alone: two could claim one node.
        raise InvalidError(
            "`kubernetes.match` takes names of pods from one namespace, or of machines from any"
        )
    if read.token_file and not read.api_server:
        raise InvalidError("`kubernetes.token_file` is for `kubernetes.api_server`, and shown to nobody else")
    return KubernetesConfig(
        issuer=read.issuer,
        audience=read.audience,
        ca_file=read.ca_file,
        api_server=read.api_server,
        token_file=read.token_file,
        service_accounts=read.service_accounts,
        trust=_trust("kubernetes", read),
    )


def _trust(section: str, read: _Trusted) -> Trust:
    try:
        attributes = Attributes(
            tier=read.tier,
            groups=frozenset(read.groups),
            purposes=frozenset(read.purposes),
            regions=frozenset(read.regions),
            class_floor=read.class_floor,
            class_ceiling=read.class_ceiling,
        )
    except ProfileError as exc:
        raise InvalidError(f"`{section}`: {exc}") from exc
    if not read.match:
        raise InvalidError(f"`{section}.match` is missing: it says which node evidence is of")
    return Trust(
        tier=read.tier, reattest_s=read.reattest_s, match=read.match, site=read.site, attributes=attributes
    )
