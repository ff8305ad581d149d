"""Tokens of foreign issuers: what an API server says of the bearer.

A token is believed when
1. it has the form that `certs.jws` asks for, a header that holds nothing but `alg`, `kid` and `typ`, and an algorithm of
   `certs.jws.ALGORITHMS`;
2. its `kid` names a key of the issuer, and that key is of the kind its algorithm asks for. There is no default key;
3. the signature holds;
4. it is from that issuer, for that audience, valid now, and was not made to live longer than `MAX_LIFETIME_S`.
NOT checked: what else it claims.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from certs import jws
from certs.errors import TokenError
from certs.jws import ALGORITHMS, Key

MAX_CHARS = 8192
MAX_LIFETIME_S = 86_400
HEADER, TYPES = {"alg", "kid", "typ"}, {"JWT"}


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token that has the right form. Nothing it says is true yet."""

    text: str = field(repr=False)
    algorithm: str
    key_id: str
    claims: Mapping[str, Any]


def read(token: str) -> Unverified:
    """The form of a token, so that its issuer's key can be looked up; TokenError otherwise."""
    header, claims = jws.parts(token, MAX_CHARS)
    algorithm = jws.check_header(header, ALGORITHMS, HEADER, TYPES)  # (1)
    return Unverified(token, algorithm, header["kid"], claims)


def verify(
    token: Unverified, keys: Mapping[str, Key], *, issuer: str, audience: str, now: int
) -> Mapping[str, Any]:
    """The claims of `token`, signed by one of `keys` (by key id); TokenError says which check failed."""
    jws.check_signature(token.text, keys.get(token.key_id), token.algorithm, issuer)  # (2) (3)
    claims = token.claims
    if claims.get("iss") != issuer:  # (4)
        raise TokenError(f"token is not from `{issuer[:128]}`")
    jws.check_times(claims, now)
    begins = claims.get("iat", claims.get("nbf"))
    if type(begins) not in {int, float} or begins > now + jws.AHEAD_S:
        raise TokenError("token does not say since when it is")
    if claims["exp"] - begins > MAX_LIFETIME_S:
        raise TokenError(f"token lives longer than {MAX_LIFETIME_S} s")
    jws.check_audience(claims, audience)
    return claims
