"""JWS in compact form, read strictly: what is not exactly one header, one object and one signature is no token.

The only module that knows `jwt`. A token is looked at when
1. it is small, ASCII, and three parts, each base64url in its one spelling; header and claims are JSON objects in which no name
   occurs twice;
2. its header holds `alg`, `kid`, perhaps `typ`, and nothing else: what could fetch or embed a key (`jku`, `x5u`, `jwk`), or
   ask for more than we do (`crit`, `cty`), refuses it; `alg` is one of those the caller accepts, decided before anything is
   looked up.
NOT checked here: whose key `kid` names, and every claim.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.errors import TokenError

PART = re.compile(r"[A-Za-z0-9_-]+")
HEADER = {"alg", "kid", "typ"}  # JWT-SVID 2: others must not be there
TYPES = {"JWT", "JOSE"}
AHEAD_S = 60  # how far an issuer's clock may be ahead; `exp` has no leeway


@dataclass(frozen=True, slots=True)
class Unverified:
    """A token that has the right form. Nothing it says is true yet."""

    text: str
    algorithm: str
    key_id: str
    claims: Mapping[str, Any]


def read(
    token: str, algorithms: Collection[str], max_chars: int, known: Collection[str] = HEADER
) -> Unverified:
    """TokenError says which check failed. `known`: what a header may hold."""
    header, claims = _parts(token, max_chars)  # (1)
    _check_header(header, algorithms, known)  # (2)
    return Unverified(token, header["alg"], header["kid"], claims)


def check_signature(token: Unverified, key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> None:
    """TokenError unless `key`, of the kind that the algorithm asks for, signed it."""
    try:
        jwt.PyJWS().decode(token.text, key, algorithms=[token.algorithm])
    except (jwt.PyJWTError, TypeError, ValueError) as exc:
        raise TokenError("token is not signed by the key it names") from exc


def check_times(claims: Mapping[str, Any], now: int) -> None:
    """`exp` is there and not past; `nbf`, if it is there, not ahead."""
    for name in ("exp", "nbf"):
        if name in claims and not (type(claims[name]) in {int, float} and 0 < claims[name] < 1 << 53):
            raise TokenError(f"`{name}` is no time")
    if "exp" not in claims:
        raise TokenError("token has no `exp`")
    if now >= claims["exp"]:
        raise TokenError("token has expired")
    if claims.get("nbf", 0) > now + AHEAD_S:
        raise TokenError("token is not valid yet")


def check_audience(claims: Mapping[str, Any], audience: str) -> None:
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or not audiences or not all(isinstance(one, str) for one in audiences):
        raise TokenError("token has no audience")
    if not audience or audience not in audiences:
        raise TokenError(f"token is not for `{audience[:64]}`")


def _parts(token: str, max_chars: int) -> tuple[dict[str, Any], dict[str, Any]]:
    if not 0 < len(token) <= max_chars:
        raise TokenError(f"token of `{len(token)}` characters is not 1 to {max_chars}")
    parts = token.split(".")
    if len(parts) != 3 or not all(PART.fullmatch(part) for part in parts):  # noqa: PLR2004 - header, claims, signature
        raise TokenError("token is not a JWS in compact form")
    header, claims, _ = (_decoded(part) for part in parts)
    return json_object(header, "token's header"), json_object(claims, "token's claims")


def json_object(data: bytes, what: str) -> dict[str, Any]:
    """TokenError for what is no object, or names anything twice."""
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise TokenError(f"{what} is not JSON with distinct names") from exc
    if not isinstance(found, dict):
        raise TokenError(f"{what} is no object")
    return found


def _check_header(header: Mapping[str, Any], algorithms: Collection[str], known: Collection[str]) -> None:
    if not isinstance(header.get("alg"), str) or header["alg"] not in algorithms:
        accepted = ", ".join(sorted(algorithms))
        raise TokenError(f"token's algorithm is `{str(header.get('alg'))[:16]}`, only {accepted} is accepted")
    if extra := set(header) - set(known):
        raise TokenError(f"token's header holds `{min(extra)[:64]}`")
    if "typ" in header and header["typ"] not in TYPES:
        raise TokenError(f"token is of type `{str(header['typ'])[:64]}`")
    if not isinstance(header.get("kid"), str):
        raise TokenError("token names no key")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def b64url(data: bytes) -> str:
    """Without padding, as RFC 7515 has it."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as exc:
        raise TokenError("token is not base64url") from exc
    if b64url(data) != part:  # trailing bits: two spellings of one token
        raise TokenError("token is not base64url in its one spelling")
    return data
