"""What was signed last, as it goes on the wire: for everybody, and for each node."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Issue:
    """One signed state for everybody: bytes as they go on the wire."""

    generation: int
    trust: bytes
    trust_digest: str
    heartbeat: bytes
    lease_until: int
    spread_ms: int = 0
    """Over how long our agents are to come back, if we end: all at once they would be in each other's way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeIssue:
    """Tickets of one node, and the blobs they name."""

    tickets: tuple[bytes, ...]
    blobs: dict[str, bytes]
    shadow: bytes = b""  # the ticket of the shadow policy, for agents that know what that is
