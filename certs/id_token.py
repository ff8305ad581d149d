"""OpenID Connect ID tokens, as operators show them. A token proves who its bearer is when

1. it is small, ASCII, and three parts, each base64url in its one spelling;
2. its header holds `alg`, `kid`, perhaps `typ` and `x5t`, and nothing else; `alg` is RS256 or ES256, decided before anything
   is looked up;
3. its key is the one of that `kid` in the key set that the configured issuer serves (`certs.jwk_set`), made for that
   algorithm: RSA for RS256, P-256 for ES256;
4. the signature holds;
5. `iss` is the configured issuer, `aud` holds our client, and `azp` names no other; `exp` is not past, and `iat` not long ago;
6. `sub` is printable ASCII.
NOT checked here: how old the key set is (the caller caches it), and what the bearer may do (his groups are mapped elsewhere).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from certs import jws
from certs.errors import TokenError
from certs.jws import Key

MAX_BYTES = 12_288  # identity providers put every group of a person into it
MAX_GROUPS, MAX_SUBJECT = 1000, 255
HEADER = {"alg", "kid", "typ", "x5t"}  # `x5t` only names a certificate; some issuers always send it
TYPES = {"JWT"}
ALGORITHMS = {"RS256", "ES256"}


@dataclass(frozen=True, slots=True, kw_only=True)
class IdToken:
    """A verified token."""

    issuer: str
    subject: str
    groups: frozenset[str]
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a token must say: by whom, for whom; and where it lists groups."""

    issuer: str
    client_id: str
    groups_claim: str
    max_age_s: int


def key_id(token: str) -> str:
    """Which key a token names; everything about its form is checked, and nothing it says is believed."""
    header, _ = jws.parts(token, MAX_BYTES)
    jws.check_header(header, ALGORITHMS, HEADER, TYPES)
    return str(header["kid"])


def verify(token: str, keys: Mapping[str, Key], expected: Expected, now: int) -> IdToken:
    """Who bears `token`; TokenError says which check failed."""
    header, claims = jws.parts(token, MAX_BYTES)  # (1)
    algorithm = jws.check_header(header, ALGORITHMS, HEADER, TYPES)  # (2)
    jws.check_signature(token, keys.get(header["kid"]), algorithm, expected.issuer)  # (3) (4)
    if claims.get("iss") != expected.issuer:  # (5)
        raise TokenError(f"token is not by `{expected.issuer}`")
    jws.check_audience(claims, expected.client_id)
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise TokenError("token was given to another client")
    jws.check_times(claims, now)
    _check_age(claims, expected.max_age_s, now)
    return IdToken(
        issuer=expected.issuer,
        subject=_subject(claims),
        groups=_groups(claims, expected.groups_claim),
        expires_at=int(claims["exp"]),
    )


def _check_age(claims: Mapping[str, Any], max_age_s: int, now: int) -> None:
    issued = claims.get("iat")
    if type(issued) not in {int, float} or not 0 < issued <= now + jws.AHEAD_S:  # type: ignore[operator]  # by then a number
        raise TokenError("token does not say when it was issued")
    if now - issued > max_age_s:  # type: ignore[operator]
        raise TokenError(f"token was issued more than {max_age_s} s ago")


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT:
        raise TokenError("token has no `sub`")
    if not (subject.isascii() and subject.isprintable()):
        raise TokenError("`sub` is not printable ASCII")
    return subject


def _groups(claims: Mapping[str, Any], name: str) -> frozenset[str]:
    """None where the claim is not there: then nothing is mapped, and nothing is permitted."""
    given = claims.get(name, [])
    if (
        not isinstance(given, list)
        or len(given) > MAX_GROUPS
        or not all(isinstance(one, str) for one in given)
    ):
        raise TokenError(f"`{name[:64]}` is no list of groups")
    return frozenset(given)
