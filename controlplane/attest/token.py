"""Join tokens: what they look like, and what is kept of them. One use, 256 bits, only their hash is stored.

A token carries the root's SHA-256, so that a newcomer knows whom to believe before it has met anybody, and names the
node it is for, so that a stolen token makes no other node.
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass

from certs import canonical
from certs.errors import EnvelopeError
from controlplane.errors import InvalidError

PREFIX = "writ1."
MAX_CHARS = 1024
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
