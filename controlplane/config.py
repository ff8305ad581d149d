"""Settings of the control plane: TOML, then WRIT_<SECTION>__<KEY>, checked once at the edge, frozen inside.

`pydantic-settings` does the reading; nothing else of the program knows it. Field names are TOML keys and chart values.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from certs.profile import CA_LIFETIME_S
from controlplane import config_attest
from controlplane.errors import InvalidError


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Where state lives: one SQLite file for one replica, or etcd for several."""

    kind: str  # sqlite, etcd
    endpoints: tuple[str, ...]  # of etcd, host:port
    prefix: str  # all our keys begin with it, and no others may
    kek_file: Path  # encrypts values before etcd sees them; kept anywhere but there
    ca_file: Path | None
    certificate_file: Path | None
    key_file: Path | None
    user: str
    password_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRole:
    """What the members of a group are. `sites` empty: everywhere."""

    group: str
    role: str
    sites: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcConfig:
    """Operators who sign in elsewhere. An empty issuer: nobody does, and the port stays shut."""

    issuer: str  # exactly as tokens have it in `iss`
    client_id: str  # exactly as tokens have it in `aud`
    listen: str  # host:port where operators without a certificate call; port 0 picks one
    ca_file: Path | None  # whom to believe as the issuer; none: the system's
    groups_claim: str
    max_token_age_s: int  # who leaves a group is an operator for no longer than this
    roles: tuple[GroupRole, ...]  # the first whose group a person is in decides


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationConfig:
    """How our bundle is served to other trust domains, and how theirs are fetched."""

    listen: str  # host:port of our bundle endpoint; empty: none
    certificate_file: (
        Path | None
    )  # of the Web, for https_web; without: https_spiffe, with a certificate of our own
    key_file: Path | None
    web_ca_file: Path | None  # whom to believe for https_web beside what this machine believes
    poll_min_s: int  # however often a bundle asks to be fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    """What holds the keys of CAs and JWT-SVIDs, if not files: a PKCS#11 token, or a key management service."""

    pkcs11_module: Path | None = None
    pkcs11_token: str = ""
    pkcs11_pin_file: Path | None = None
    kms_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """What the control plane runs with."""

    trust_domain: str
    state_dir: Path
    passphrase_file: Path
    device: DeviceConfig
    listen: str  # host:port of the API; port 0 picks one
    enrolment_listen: str
    enrolment_address: (
        str  # what join tokens say; host:port as nodes reach it, port 0: the one that was picked
    )
    svid_lifetime_s: int  # short: expiry is the revocation that needs no network
    lease_s: int  # how long an agent may act on what it last heard
    heartbeat_s: float
    grace_s: int  # how long after expiry a machine that slept may renew
    ca_lifetime_s: int  # of CAs that rotation makes; the first ones live 30 days
    metrics_listen: str  # host:port of /metrics, /live, /ready; empty: none
    log_level: str
    replica: str  # this control plane's name among its equals; a DNS label
    replica_address: str  # host:port where the others reach its API; empty: what was bound
    store: StoreConfig
    attest: config_attest.AttestConfig
    oidc: OidcConfig
    federation: FederationConfig


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Server(_Strict):
    listen: str = "127.0.0.1:8443"
    enrolment_listen: str = "127.0.0.1:8444"
    enrolment_address: str = ""


class _Identity(_Strict):
    svid_lifetime_s: int = Field(default=3600, ge=20, le=86400)
    lease_s: int = Field(default=900, ge=30, le=34560)
    heartbeat_s: float = Field(default=10.0, ge=0.1, le=60)
    grace_s: int = Field(default=86400, ge=0, le=7 * 86400)
    ca_lifetime_s: int = Field(default=CA_LIFETIME_S, ge=600, le=366 * 86400)


class _Keys(_Strict):
    passphrase_file: Path | None = None
    pkcs11_module: Path | None = None
    pkcs11_token: str = ""
    pkcs11_pin_file: Path | None = None
    kms_file: Path | None = None


class _Metrics(_Strict):
    listen: str = ""


class _Log(_Strict):
    level: str = "info"


class _Replica(_Strict):
    name: str = Field(default="replica-1", pattern=r"^[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?$")
    address: str = ""


class _Store(_Strict):
    kind: Literal["sqlite", "etcd"] = "sqlite"
    endpoints: tuple[str, ...] = ()
    prefix: str = Field(default="", pattern=r"^(/[A-Za-z0-9._/-]{1,200}/)?$")
    kek_file: Path | None = None
    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    user: str = ""
    password_file: Path | None = None


class _Role(_Strict):
    group: str = Field(min_length=1, max_length=255)
    role: Literal["admin", "operator", "auditor", "ci"]
    sites: tuple[str, ...] = ()


class _Oidc(_Strict):
    issuer: str = Field(default="", pattern=r"^(https://[^\s#?@]{1,500})?$")
    client_id: str = ""
    listen: str = "127.0.0.1:8445"
    ca_file: Path | None = None
    groups_claim: str = Field(default="groups", min_length=1)
    max_token_age_s: int = Field(default=3600, ge=60, le=43200)
    roles: tuple[_Role, ...] = ()


class _Federation(_Strict):
    listen: str = ""
    certificate_file: Path | None = None
    key_file: Path | None = None
    web_ca_file: Path | None = None
    poll_min_s: int = Field(default=60, ge=1, le=3600)


class _Settings(BaseSettings):
    model_config = SettingsConfigDict(extra="forbid", env_prefix="WRIT_", env_nested_delimiter="__")
    trust_domain: str
    state_dir: Path = Path("/var/lib/writ/controlplane")
    server: _Server = _Server()
    identity: _Identity = _Identity()
    keys: _Keys = _Keys()
    metrics: _Metrics = _Metrics()
    log: _Log = _Log()
    replica: _Replica = _Replica()
    store: _Store = _Store()
    join_token: config_attest.JoinTokenSettings = config_attest.JoinTokenSettings()
    x509pop: config_attest.X509PopSettings = config_attest.X509PopSettings()
    kubernetes: config_attest.KubernetesSettings = config_attest.KubernetesSettings()
    oidc: _Oidc = _Oidc()
    federation: _Federation = _Federation()


def load(path: Path) -> Config:
    """Read settings; InvalidError names file and key."""

    class FromFile(_Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the library's signature
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return env_settings, TomlConfigSettingsSource(settings_cls, path)

    if not path.is_file():
        raise InvalidError(f"there are no settings at `{path}`", hint="`writ init` writes them")
    try:
        return _frozen(FromFile())  # type: ignore[call-arg]  # the file gives what is required
    except ValidationError as exc:
        first = exc.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InvalidError(f"`{path}`: `{where}`: {first['msg'].lower()}") from exc
    except ValueError as exc:
        raise InvalidError(f"`{path}` is not valid TOML: {exc}") from exc


def _frozen(read: _Settings) -> Config:
    identity = read.identity
    if identity.ca_lifetime_s < 10 * identity.svid_lifetime_s:
        raise InvalidError("`identity.ca_lifetime_s` must be at least ten times the life of a certificate")
    longest = int(identity.svid_lifetime_s * 0.4)  # a lease beyond that would outlast what renewal can heal
    if identity.lease_s > longest:
        raise InvalidError(
            f"`identity.lease_s` is {identity.lease_s}, at most 0.4 of the certificate's life: {longest}"
        )
    if identity.heartbeat_s * 3 > identity.lease_s:
        raise InvalidError("`identity.heartbeat_s` must fit into the lease three times")
    return Config(
        trust_domain=read.trust_domain,
        state_dir=read.state_dir,
        passphrase_file=read.keys.passphrase_file or read.state_dir / "passphrase",
        device=device(read.keys.model_dump(exclude={"passphrase_file"})),
        listen=read.server.listen,
        enrolment_listen=read.server.enrolment_listen,
        enrolment_address=read.server.enrolment_address,
        svid_lifetime_s=identity.svid_lifetime_s,
        lease_s=identity.lease_s,
        heartbeat_s=identity.heartbeat_s,
        grace_s=identity.grace_s,
        ca_lifetime_s=identity.ca_lifetime_s,
        metrics_listen=read.metrics.listen,
        log_level=read.log.level,
        replica=read.replica.name,
        replica_address=read.replica.address,
        store=_store(read),
        attest=config_attest.frozen(read.join_token, read.x509pop, read.kubernetes),
        oidc=_oidc(read.oidc),
        federation=_federation(read.federation),
    )


def _oidc(oidc: _Oidc) -> OidcConfig:
    if oidc.issuer and not (oidc.client_id and oidc.roles):
        hint = '[[oidc.roles]] group = "mesh-admins", role = "admin"'
        raise InvalidError("`oidc.issuer` needs `oidc.client_id` and `oidc.roles`", hint=hint)
    roles = tuple(GroupRole(group=one.group, role=one.role, sites=one.sites) for one in oidc.roles)
    return OidcConfig(**{**dict(oidc), "roles": roles})


def device(values: Mapping[str, Any]) -> DeviceConfig:
    """Checked: a token needs its three settings, and there is one device."""
    found = DeviceConfig(**values)
    token = (found.pkcs11_module, found.pkcs11_token, found.pkcs11_pin_file)
    if any(token) and not all(token):
        raise InvalidError("`keys.pkcs11_module`, `_token` and `_pin_file` go together")
    if any(token) and found.kms_file:
        raise InvalidError("keys are in a token or in a service, not in both")
    return found


def _federation(read: _Federation) -> FederationConfig:
    if (read.certificate_file is None) is not (read.key_file is None):
        raise InvalidError("`federation.certificate_file` and `federation.key_file` go together")
    return FederationConfig(**dict(read))


def _store(read: _Settings) -> StoreConfig:
    store = read.store
    if store.kind == "etcd" and not store.endpoints:
        raise InvalidError("`store.endpoints` is missing", hint='endpoints = ["etcd-1:2379"]')
    if (store.certificate_file is None) is not (store.key_file is None):
        raise InvalidError("`store.certificate_file` and `store.key_file` go together")
    if store.certificate_file and not store.ca_file:
        raise InvalidError("`store.certificate_file` needs `store.ca_file`: etcd is verified first")
    if bool(store.user) is not bool(store.password_file):
        raise InvalidError("`store.user` and `store.password_file` go together")
    return StoreConfig(
        kind=store.kind,
        endpoints=store.endpoints,
        prefix=store.prefix or f"/writ/v1/{read.trust_domain}/",
        kek_file=store.kek_file or read.state_dir / "kek",
        ca_file=store.ca_file,
        certificate_file=store.certificate_file,
        key_file=store.key_file,
        user=store.user,
        password_file=store.password_file,
    )
