"""Where a Workload API is: SPIFFE_ENDPOINT_SOCKET and its two kinds of address (SPIFFE Workload Endpoint 4)."""

import ipaddress
from urllib.parse import urlsplit

from agent.errors import ConfigError

VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
PORTS = range(1, 65536)


def target(uri: str) -> str:
    """What gRPC is given for `uri`; ConfigError unless it is `unix:///path` or `tcp://ip:port` and nothing more."""
    try:
        parts = urlsplit(uri)
        port = parts.port
    except ValueError as exc:
        raise ConfigError(f"`{uri[:256]}` is no endpoint: {exc}") from exc
    if "?" in uri or "#" in uri or parts.username is not None or parts.password is not None:
        raise ConfigError(f"`{uri[:256]}` holds more than an address")
    if parts.scheme == "unix" and not parts.netloc and parts.path.startswith("/") and parts.path != "/":
        return f"unix:{parts.path}"
    if parts.scheme == "tcp" and port in PORTS and not parts.path:
        return _tcp(uri, parts.hostname or "", port or 0)
    raise ConfigError(
        f"`{uri[:256]}` is no endpoint", hint="unix:///run/writ/workload.sock, or tcp://IP:PORT"
    )


def _tcp(uri: str, host: str, port: int) -> str:
    try:
        address = ipaddress.ip_address(host)  # a name would need a resolver to be trusted
    except ValueError as exc:
        raise ConfigError(f"`{uri[:256]}` names a host, only an IP address is allowed") from exc
    return f"ipv4:{address}:{port}" if address.version == 4 else f"ipv6:[{address}]:{port}"  # noqa: PLR2004
