"""JWT-SVIDs: short-lived bearer tokens of a workload, for one audience. The only module that knows `jwt`.

Made in two steps like certificates: `prepare` gives the bytes, the caller stores them, `sign` signs them. A token proves
its bearer when
1. it is small, ASCII, and three parts, each base64url in its one spelling: the compact form and no other;
2. its header holds `alg`, `kid`, perhaps `typ`, and nothing else: what could fetch or embed a key (`jku`, `x5u`, `jwk`), or
   ask for more than we do (`crit`, `cty`), refuses it; `alg` is ES256, decided before anything is looked up;
3. its key is the one of that `kid` in the bundle of the trust domain of its `sub`, and no other bundle;
4. the signature holds;
5. `sub` is a workload, `exp` is there and not past, `aud` holds the audience that is asked for; no name occurs twice.
NOT checked here: whether the node was revoked (`epoch` against the floor, in the trust document).
"""

import base64
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from certs import spiffe
from certs.bundle import TrustBundle
from certs.errors import ProfileError, SpiffeIdError, TokenError
from certs.spiffe import SpiffeId

MAX_BYTES = 8192
MAX_LIFETIME_S = 3600
MAX_AUDIENCES = 16
AUDIENCE = re.compile(r"[\x21-\x7e]{1,512}")
PART = re.compile(r"[A-Za-z0-9_-]+")
HEADER = {"alg", "kid", "typ"}  # JWT-SVID 2: others must not be there
TYPES = {"JWT", "JOSE"}
ALGORITHM = "ES256"
AHEAD_S = 60  # how far the issuer's clock may be ahead, for `nbf`; `exp` has no leeway
EPOCH = "writ_epoch"


@dataclass(frozen=True, slots=True, kw_only=True)
class JwtSvid:
    """A verified token. `epoch` must still be held against the node's floor."""

    spiffe_id: SpiffeId
    epoch: int
    expires_at: int
    claims: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedToken:
    """A token that may be signed once it is stored."""

    token_id: str
    text: str
    expires_at: int


def prepare(
    spiffe_id: SpiffeId,
    audiences: Sequence[str],
    *,
    epoch: int,
    key_id: str,
    token_id: str,
    lifetime_s: int,
    now: int,
) -> PreparedToken:
    """What will be signed; ProfileError for an audience or lifetime that must not be."""
    if not spiffe_id.is_workload:
        raise ProfileError(f"`{spiffe_id}` is not a workload")
    if not 1 <= len(audiences) <= MAX_AUDIENCES or len(set(audiences)) != len(audiences):
        raise ProfileError(f"a token is for 1 to {MAX_AUDIENCES} distinct audiences")
    for audience in audiences:
        if not AUDIENCE.fullmatch(audience):
            raise ProfileError(f"audience `{audience[:64]}` is not 1 to 512 printable characters")
    if not 0 < lifetime_s <= MAX_LIFETIME_S:
        raise ProfileError(f"a token lives 1 to {MAX_LIFETIME_S} s")
    header = {"alg": ALGORITHM, "kid": key_id, "typ": "JWT"}
    claims = {
        "sub": str(spiffe_id),
        "aud": list(audiences),
        "exp": now + lifetime_s,
        "iat": now,
        "jti": token_id,
        EPOCH: epoch,
    }
    return PreparedToken(
        token_id=token_id, text=f"{_part(header)}.{_part(claims)}", expires_at=now + lifetime_s
    )


def sign(prepared: PreparedToken, signature_of: Callable[[bytes], bytes]) -> str:
    """The token. `signature_of` returns a DER ECDSA signature over SHA-256 of its argument."""
    r, s = decode_dss_signature(signature_of(prepared.text.encode()))
    return f"{prepared.text}.{_b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"  # RFC 7518 3.4


def verify(token: str, bundles: Mapping[str, TrustBundle], audience: str, now: int) -> JwtSvid:
    """Who bears `token`, if it is for `audience`; `bundles` by trust domain. TokenError says which check failed."""
    header, claims = _parts(token)  # (1)
    _check_header(header)  # (2)
    spiffe_id = _subject(claims)
    bundle = bundles.get(spiffe_id.trust_domain)
    key = bundle.jwt_keys.get(header["kid"]) if bundle else None
    if key is None:  # (3)
        raise TokenError(f"token names no key of `{spiffe_id.trust_domain}`")
    try:  # (4)
        jwt.PyJWS().decode(token, key, algorithms=[ALGORITHM])
    except jwt.PyJWTError as exc:
        raise TokenError("token is not signed by the key it names") from exc
    _check_times(claims, now)  # (5)
    _check_audience(claims, audience)
    epoch = claims.get(EPOCH, 1)
    if type(epoch) is not int:
        raise TokenError(f"`{EPOCH}` is no number")
    return JwtSvid(spiffe_id=spiffe_id, epoch=epoch, expires_at=int(claims["exp"]), claims=claims)


def _parts(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    if not 0 < len(token) <= MAX_BYTES:
        raise TokenError(f"token of `{len(token)}` characters is not 1 to {MAX_BYTES}")
    parts = token.split(".")
    if len(parts) != 3 or not all(PART.fullmatch(part) for part in parts):  # noqa: PLR2004 - header, claims, signature
        raise TokenError("token is not a JWS in compact form")
    header, claims, _ = (_decoded(part) for part in parts)
    return _object(header, "header"), _object(claims, "claims")


def _check_header(header: Mapping[str, Any]) -> None:
    if header.get("alg") != ALGORITHM:
        raise TokenError(
            f"token's algorithm is `{str(header.get('alg'))[:16]}`, only {ALGORITHM} is accepted"
        )
    if extra := set(header) - HEADER:
        raise TokenError(f"token's header holds `{min(extra)[:64]}`")
    if "typ" in header and header["typ"] not in TYPES:
        raise TokenError(f"token is of type `{str(header['typ'])[:64]}`")
    if not isinstance(header.get("kid"), str):
        raise TokenError("token names no key")


def _subject(claims: Mapping[str, Any]) -> SpiffeId:
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise TokenError("token has no `sub`")
    try:
        return spiffe.parse(subject)
    except SpiffeIdError as exc:
        raise TokenError(f"`sub` is no SPIFFE ID: {exc}") from exc


def _check_times(claims: Mapping[str, Any], now: int) -> None:
    for name in ("exp", "nbf"):
        if name in claims and not (type(claims[name]) in {int, float} and 0 < claims[name] < 1 << 53):
            raise TokenError(f"`{name}` is no time")
    if "exp" not in claims:
        raise TokenError("token has no `exp`")
    if now >= claims["exp"]:
        raise TokenError("token has expired")
    if claims.get("nbf", 0) > now + AHEAD_S:
        raise TokenError("token is not valid yet")


def _check_audience(claims: Mapping[str, Any], audience: str) -> None:
    given = claims.get("aud")
    audiences = [given] if isinstance(given, str) else given
    if not isinstance(audiences, list) or not audiences or not all(isinstance(one, str) for one in audiences):
        raise TokenError("token has no audience")
    if not audience or audience not in audiences:
        raise TokenError(f"token is not for `{audience[:64]}`")


def _object(data: bytes, what: str) -> dict[str, Any]:
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as exc:
        raise TokenError(f"token's {what} is not JSON with distinct names") from exc
    if not isinstance(found, dict):
        raise TokenError(f"token's {what} is no object")
    return found


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _part(value: Mapping[str, Any]) -> str:
    return _b64url(json.dumps(value, separators=(",", ":")).encode())


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(part: str) -> bytes:
    try:
        data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except ValueError as exc:
        raise TokenError("token is not base64url") from exc
    if _b64url(data) != part:  # trailing bits: two spellings of one token
        raise TokenError("token is not base64url in its one spelling")
    return data
