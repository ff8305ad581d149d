"""What the data plane is told once, when Envoy starts. Units are in the names, reasons beside them."""

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvoySettings:
    """Static facts of one sidecar. Everything that changes later comes over xDS."""

    directory: Path  # sockets, bootstrap, pid; mode 0700
    access_log: Path
    trust_domain: str
    spiffe_id: str
    boot: str  # names this run of Envoy in records
    session_key: bytes = field(repr=False)  # seals what callers are told of sessions
    ingress_host: str = "0.0.0.0"  # noqa: S104 - peers must reach it; mTLS guards it
    ingress_port: int = 7443
    egress_host: str = "127.0.0.1"
    egress_port: int = 7080
    max_body_bytes: int = 4 << 20  # largest body a rule may need; more is answered 413
    max_stream_s: int = 3600  # every stream ends: the bound where cutting is not possible
    max_connection_s: int = 900  # a connection re-authenticates within one lease
    idle_s: int = 300
    connect_timeout_s: float = 5.0

    @property
    def xds_socket(self) -> Path:
        return self.directory / "xds.sock"

    @property
    def admin_socket(self) -> Path:
        return self.directory / "admin.sock"
