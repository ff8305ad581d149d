"""The attest port: evidence in, a claim that it proves out, or a typed refusal.

1. Whatever is wrong with evidence raises NotAttestedError. What cannot be judged, because somebody else is away, raises
   UnavailableError. Neither changes anything.
2. A proof covers the signing request it came with, or is a bearer token; which, the adapter says.
NOT decided here: whether the node may exist, whether it is revoked, and whether evidence that is good once was used. All that
is compared in the commit that issues (`services.enrolment`).
"""

from dataclasses import dataclass, field
from typing import Protocol

from certs.attributes import Attributes

JOIN_TOKEN, X509POP, KUBERNETES = "join_token", "x509pop", "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a newcomer shows. Fields that its kind does not use are empty."""

    kind: str
    csr: bytes
    """The request for a certificate that came with it: what a signature must cover."""
    bearer: str = field(default="", repr=False)
    """A token: whoever has it is believed. Never logged."""
    chain: tuple[bytes, ...] = ()
    """Certificates, DER, leaf first."""
    nonce: bytes = b""
    signature: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attested:
    """What evidence proves: that it comes from this node, as strongly as `tier` says."""

    kind: str
    node: str
    site: str
    tier: int
    attributes: Attributes | None = None
    """Of a node that nobody has declared; None: an operator must have. Its tier is not looked at."""
    once: str = ""
    """The name under which its use is kept, so that it enrols one key and no other; empty: it cannot be shown again anyway."""
    until: int = 0
    """When it ends, Unix seconds."""


class Attestor(Protocol):
    """One adapter per kind of evidence; all pass `tests/conformance/attest.py`."""

    async def attest(self, evidence: Evidence) -> Attested: ...
