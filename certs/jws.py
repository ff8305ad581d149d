"""Signed tokens in compact form (RFC 7515), read strictly: no second spelling, no name twice, no surprise in a header.

A signature is checked with a key that its algorithm asks for, and no other; algorithms are asymmetric ones alone, so that a
public key never verifies an HMAC. Which algorithms and whose keys count is decided by who reads (`jwt_svid`, `id_token`,
`web_token`). The one door to `jwt`.
"""

import base64
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs.errors import TokenError

PART = re.compile(r"[A-Za-z0-9_-]+")
CURVES: dict[str, type[ec.EllipticCurve]] = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1}
ALGORITHMS = {"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "ES256": "P-256", "ES384": "P-384"}
"""Algorithm -> the kind of key that it asks for."""
Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey
AHEAD_S = 60  # how far the issuer's clock may be ahead, for `nbf` and `iat`; `exp` has no leeway


def parts(token: str, max_bytes: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """(header, claims) of three parts, each base64url in its one spelling."""
    if not 0 < len(token) <= max_bytes:
        raise TokenError(f"token of `{len(token)}` characters is not 1 to {max_bytes}")
    found = token.split(".")
    if len(found) != 3 or not all(PART.fullmatch(part) for part in found):  # noqa: PLR2004 - header, claims, signature
        raise TokenError("token is not a JWS in compact form")
    header, claims, _ = (_decoded(part) for part in found)
    return json_object(header, "token's header"), json_object(claims, "token's claims")


def check_header(
    header: Mapping[str, Any], algorithms: Collection[str], known: Collection[str], types: Collection[str]
) -> str:
    """The algorithm. What could fetch or embed a key (`jku`, `x5u`, `jwk`), or ask for more (`crit`, `cty`), refuses it."""
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        accepted = ", ".join(sorted(algorithms))
        raise TokenError(f"token's algorithm is `{str(algorithm)[:16]}`, only {accepted} is accepted")
    if extra := set(header) - set(known):
        raise TokenError(f"token's header holds `{min(extra)[:64]}`")
    if "typ" in header and header["typ"] not in types:
        raise TokenError(f"token is of type `{str(header['typ'])[:64]}`")
    if not isinstance(header.get("kid"), str):
        raise TokenError("token names no key")
    return algorithm


def check_signature(token: str, key: Key | None, algorithm: str, issuer: str) -> None:
    """`key` is there, of the kind that `algorithm` asks for, and has signed `token`."""
    if key is None or kind_of(key) != ALGORITHMS[algorithm]:
        raise TokenError(f"token names no key of `{issuer[:128]}`")
    try:
        jwt.PyJWS().decode(token, key, algorithms=[algorithm])
    except jwt.PyJWTError as exc:
        raise TokenError("token is not signed by the key it names") from exc


def kind_of(key: Key) -> str:
    """`RSA`, `P-256`, `P-384`; nothing for another curve."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    return next((name for name, curve in CURVES.items() if isinstance(key.curve, curve)), "")


def check_times(claims: Mapping[str, Any], now: int) -> None:
    """`exp` is there and not past, `nbf` has come."""
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


def json_object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise TokenError(f"{what} is not JSON with distinct names") from exc
    if not isinstance(found, dict):
        raise TokenError(f"{what} is no object")
    return found


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _decoded(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as exc:
        raise TokenError("token is not base64url") from exc
    if b64url(data) != part:  # trailing bits: two spellings of one token
        raise TokenError("token is not base64url in its one spelling")
    return data
