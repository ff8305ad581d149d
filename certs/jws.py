"""The compact form of signed tokens, read strictly: no second spelling, no name twice, no surprise in a header.

Nothing is verified here; which algorithm and which key count is decided by who reads (`jwt_svid`, `id_token`).
"""

import base64
import json
import re
from collections.abc import Collection, Mapping
from typing import Any

from certs.errors import TokenError

PART = re.compile(r"[A-Za-z0-9_-]+")
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
