"""SPIFFE IDs, strictly: what does not parse here is nobody.

Rules of the SPIFFE-ID standard, stricter where spellings could differ: upper case in the trust domain is refused, not
folded, so that two texts never name one principal. Node IDs are `spiffe://<td>/<jurisdiction>/<site>/<node>`, a
workload adds a fourth segment. `control-plane` as first segment is reserved.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from certs.errors import SpiffeIdError

MAX_BYTES = 2048  # SPIFFE-ID 2.3
MAX_TRUST_DOMAIN_BYTES = 255
TRUST_DOMAIN = re.compile(r"[a-z0-9._-]+")
SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
JURISDICTION = re.compile(r"[a-z]{2}")
JURISDICTION_CODE = re.compile(r"[A-Z]{2}")
CONTROL_PLANE = "control-plane"
FEDERATION = (CONTROL_PLANE, "federation", "endpoint")
NODE_SEGMENTS, WORKLOAD_SEGMENTS, OPERATOR_SEGMENTS = 3, 4, 3


@dataclass(frozen=True, slots=True, order=True)
class SpiffeId:
    """A parsed ID. Build it with `parse` or the makers below: they are what checks it."""

    trust_domain: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return "/".join(("spiffe:/", self.trust_domain, *self.path))

    @property
    def is_control_plane(self) -> bool:
        """A replica: `control-plane/<replica>`."""
        return len(self.path) == 2 and self.path[0] == CONTROL_PLANE  # noqa: PLR2004

    @property
    def is_operator(self) -> bool:
        """A person or program that administers: `control-plane/operator/<name>`."""
        return len(self.path) == OPERATOR_SEGMENTS and self.path[:2] == (CONTROL_PLANE, "operator")

    @property
    def is_node(self) -> bool:
        """Exactly a node, not a workload below it."""
        return len(self.path) == NODE_SEGMENTS and self._below_a_node()

    @property
    def is_workload(self) -> bool:
        return len(self.path) == WORKLOAD_SEGMENTS and self._below_a_node()

    @property
    def is_federation(self) -> bool:
        """The endpoint that serves our bundle to other trust domains, at every replica."""
        return self.path == FEDERATION

    def _below_a_node(self) -> bool:
        return _names_a_node(self.path[:NODE_SEGMENTS])

    @property
    def jurisdiction(self) -> str:
        """ISO 3166-1 alpha-2, upper case as certificates and policies have it."""
        return self._node_path()[0].upper()

    @property
    def site(self) -> str:
        return self._node_path()[1]

    @property
    def node(self) -> str:
        return self._node_path()[2]

    @property
    def short(self) -> str:
        """`<node>.<site>`, the name people and policies use."""
        return f"{self.node}.{self.site}"

    @property
    def workload(self) -> str | None:
        return self.path[3] if self.is_workload else None

    def _node_path(self) -> tuple[str, ...]:
        if not (self.is_node or self.is_workload):
            raise RuntimeError(f"`{self}` is not a node")
        return self.path


@lru_cache(maxsize=4096)  # asked at each look at a part of an ID: ten times while one certificate is made
def _names_a_node(path: tuple[str, ...]) -> bool:
    jurisdiction, site, node = path
    return all((JURISDICTION.fullmatch(jurisdiction), LABEL.fullmatch(site), LABEL.fullmatch(node)))


def parse(text: str) -> SpiffeId:
    """Parse a SPIFFE ID with a path; SpiffeIdError says what is wrong."""
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise SpiffeIdError(f"SPIFFE ID is longer than {MAX_BYTES} bytes")
    if not text.startswith("spiffe://"):
        raise SpiffeIdError(f"`{text[:64]}` does not start with spiffe://")
    domain, *path = text.removeprefix("spiffe://").split("/")
    if not path:
        raise SpiffeIdError(f"`{text[:64]}` names a trust domain, not a principal")
    for segment in path:
        if not SEGMENT.fullmatch(segment) or segment in {".", ".."}:
            raise SpiffeIdError(f"`{text[:64]}` has the invalid path segment `{segment[:64]}`")
    return SpiffeId(trust_domain(domain), tuple(path))


def trust_domain(text: str) -> str:
    """Check the name of a trust domain."""
    if not TRUST_DOMAIN.fullmatch(text) or len(text) > MAX_TRUST_DOMAIN_BYTES:
        raise SpiffeIdError(f"`{text[:64]}` is not a trust domain: 1 to 255 of a-z 0-9 . _ -")
    return text


def dns_label(text: str) -> str:
    """Check the name of a site or node."""
    if not LABEL.fullmatch(text):
        raise SpiffeIdError(f"`{text[:64]}` is not a DNS label: 1 to 63 of a-z 0-9 -, no dash at an end")
    return text


def jurisdiction_code(text: str) -> str:
    """Check an upper-case ISO 3166-1 alpha-2 code (its form, not that the country exists)."""
    # Matched as it is, not folded: U+212A folds to `k`, and two texts would name one jurisdiction.
    if not JURISDICTION_CODE.fullmatch(text):
        raise SpiffeIdError(
            f"`{text[:64]}` is not a jurisdiction: two upper-case letters, ISO 3166-1 alpha-2"
        )
    return text


def node_id(domain: str, jurisdiction: str, site: str, node: str) -> SpiffeId:
    """The ID of a node; `jurisdiction` upper case."""
    path = (jurisdiction_code(jurisdiction).lower(), dns_label(site), dns_label(node))
    return SpiffeId(trust_domain(domain), path)


def workload_id(node: SpiffeId, name: str) -> SpiffeId:
    """The ID of a workload below a node."""
    if not node.is_node:
        raise RuntimeError(f"`{node}` is not a node")
    return SpiffeId(node.trust_domain, (*node.path, dns_label(name)))


def control_plane_id(domain: str, replica: str) -> SpiffeId:
    return SpiffeId(trust_domain(domain), (CONTROL_PLANE, dns_label(replica)))


def operator_id(domain: str, name: str) -> SpiffeId:
    return SpiffeId(trust_domain(domain), (CONTROL_PLANE, "operator", dns_label(name)))


def federation_id(domain: str) -> SpiffeId:
    return SpiffeId(trust_domain(domain), FEDERATION)
