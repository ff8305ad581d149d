"""JWT-SVIDs: short-lived bearer tokens of a workload, for one audience.

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

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from certs import jws, spiffe
from certs.bundle import TrustBundle
from certs.errors import ProfileError, SpiffeIdError, TokenError
from certs.spiffe import SpiffeId

MAX_BYTES = 8192
MAX_LIFETIME_S = 3600
MAX_AUDIENCES = 16
AUDIENCE = re.compile(r"[\x21-\x7e]{1,512}")
HEADER = {"alg", "kid", "typ"}  # JWT-SVID 2: others must not be there
TYPES = {"JWT", "JOSE"}
ALGORITHM = "ES256"
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
    return f"{prepared.text}.{jws.b64url(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"  # RFC 7518 3.4


def verify(token: str, bundles: Mapping[str, TrustBundle], audience: str, now: int) -> JwtSvid:
    """Who bears `token`, if it is for `audience`; `bundles` by trust domain. TokenError says which check failed."""
    header, claims = jws.parts(token, MAX_BYTES)  # (1)
    jws.check_header(header, {ALGORITHM}, HEADER, TYPES)  # (2)
    spiffe_id = _subject(claims)
    bundle = bundles.get(spiffe_id.trust_domain)
    key = bundle.jwt_keys.get(header["kid"]) if bundle else None
    jws.check_signature(token, key, ALGORITHM, spiffe_id.trust_domain)  # (3) (4)
    jws.check_times(claims, now)  # (5)
    jws.check_audience(claims, audience)
    epoch = claims.get(EPOCH, 1)
    if type(epoch) is not int:
        raise TokenError(f"`{EPOCH}` is no number")
    return JwtSvid(spiffe_id=spiffe_id, epoch=epoch, expires_at=int(claims["exp"]), claims=claims)


def _subject(claims: Mapping[str, Any]) -> SpiffeId:
    subject = claims.get("sub")
    if not isinstance(subject, str):
        raise TokenError("token has no `sub`")
    try:
        return spiffe.parse(subject)
    except SpiffeIdError as exc:
        raise TokenError(f"`sub` is no SPIFFE ID: {exc}") from exc


def _part(value: Mapping[str, Any]) -> str:
    return jws.b64url(json.dumps(value, separators=(",", ":")).encode())
