"""Join tokens: what they look like, what is kept of them, and what one proves: that an operator invited this node.

One use, 256 bits, only their hash is stored. A token carries the root's SHA-256, so that a newcomer knows whom to believe
before it has met anybody, and names the node it is for, so that a stolen token makes no other node.

1. It is a token, and an operator made it: its hash is known.
2. It says the node and site that it was made for. What counts is what is stored.
3. It has not ended. Every refusal has one text: a guesser learns nothing.
"""

import base64
import binascii
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from certs import canonical
from certs.errors import EnvelopeError
from controlplane.attest.base import JOIN_TOKEN, Attested, Evidence
from controlplane.errors import InvalidError, NotAttestedError

PREFIX = "writ1."
MAX_CHARS = 1024
REFUSED = "the join token was not accepted"
SECRET_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinToken:
    """What a token says. `secret` is never logged and never stored."""

    secret: bytes
    root_sha256: str
    address: str  # host:port of the enrolment service
    trust_domain: str
    node: str
    site: str

    def text(self) -> str:
        fields = {"root": self.root_sha256, "addr": self.address, "td": self.trust_domain, "node": self.node}
        body = canonical.dumps({**fields, "site": self.site, "secret": self.secret.hex()})
        return PREFIX + base64.urlsafe_b64encode(body).decode().rstrip("=")

    def __repr__(self) -> str:
        return f"JoinToken(node={self.node!r}, site={self.site!r})"


def parse(text: str) -> JoinToken:
    """InvalidError when `text` is no token."""
    text = text.strip()
    if not text.startswith(PREFIX) or len(text) > MAX_CHARS:
        raise InvalidError("this is no join token")
    body = text.removeprefix(PREFIX)
    try:
        fields = canonical.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), MAX_CHARS)
        return JoinToken(
            secret=bytes.fromhex(fields["secret"]),
            root_sha256=str(fields["root"]),
            address=str(fields["addr"]),
            trust_domain=str(fields["td"]),
            node=str(fields["node"]),
            site=str(fields["site"]),
        )
    except (EnvelopeError, binascii.Error, ValueError, KeyError, TypeError) as exc:
        raise InvalidError("this is no join token") from exc


def stored_name(secret: bytes) -> str:
    """Under what a token is found: its hash. Looking it up leaks nothing that helps to guess one."""
    return hashlib.sha256(b"writ-join-token\n" + secret).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """What an operator said when a token was made."""

    node: str
    site: str
    expires_at: int


class Invitations(Protocol):
    """Those that were made, by the name that `stored_name` gives."""

    async def find(self, name: str) -> Invitation | None: ...


class JoinTokens:
    """The attestor of join tokens."""

    def __init__(self, invitations: Invitations, *, tier: int, clock: Callable[[], int]) -> None:
        self._invitations, self._tier, self._clock = invitations, tier, clock

    async def attest(self, evidence: Evidence) -> Attested:
        try:
            token = parse(evidence.bearer)  # (1)
        except InvalidError as exc:
            raise NotAttestedError(REFUSED) from exc
        name = stored_name(token.secret)
        found = await self._invitations.find(name)
        if found is None or (found.node, found.site) != (token.node, token.site):  # (2)
            raise NotAttestedError(REFUSED)
        if self._clock() >= found.expires_at:  # (3)
            raise NotAttestedError(REFUSED)
        return Attested(
            kind=JOIN_TOKEN,
            node=found.node,
            site=found.site,
            tier=self._tier,
            once=name,
            until=found.expires_at,
        )
