"""Tokens of foreign issuers, and the keys that sign them: what an API server says of the bearer.

A token is believed when
1. it has the form that `certs.jws` asks for, a header that holds nothing but `alg`, `kid` and `typ`, and an algorithm of `ALGORITHMS`: asymmetric ones alone, so that a public key never
   verifies an HMAC;
2. its `kid` names a key of the issuer, and that key is of the kind its algorithm asks for. There is no default key;
3. the signature holds;
4. it is from that issuer, for that audience, valid now, and was not made to live longer than `MAX_LIFETIME_S`.
NOT checked: what else it claims.

Of a JWK Set, keys of another use, kind or size are left out, as RFC 7517 5 asks; what is malformed refuses the whole.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs import jws
from certs.errors import BundleError, TokenError

MAX_CHARS, MAX_SET_BYTES, MAX_KEYS = 8192, 1 << 18, 32
MAX_LIFETIME_S = 86_400
HEADER, TYPES = {"alg", "kid", "typ"}, {"JWT"}
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 4096
CURVES: dict[str, tuple[type[ec.EllipticCurve], int]] = {
    "P-256": (ec.SECP256R1, 32),
    "P-384": (ec.SECP384R1, 48),
}
ALGORITHMS = {"RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "ES256": "P-256", "ES384": "P-384"}
"""Algorithm -> the kind of key that it asks for."""
Key = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


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
    key = keys.get(token.key_id)
    if key is None or kind_of(key) != ALGORITHMS[token.algorithm]:  # (2)
        raise TokenError("token names no key of its issuer")
    try:  # (3)
        jwt.PyJWS().decode(token.text, key, algorithms=[token.algorithm])
    except jwt.PyJWTError as exc:
        raise TokenError("token is not signed by the key it names") from exc
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


def kind_of(key: Key) -> str:
    """`RSA`, `P-256`, `P-384`."""
    if isinstance(key, rsa.RSAPublicKey):
        return "RSA"
    return next((name for name, (curve, _) in CURVES.items() if isinstance(key.curve, curve)), "")


def load_keys(data: bytes) -> dict[str, Key]:
    """The signing keys of a JWK Set, by key id; BundleError when it is malformed or too large."""
    if len(data) > MAX_SET_BYTES:
        raise BundleError(f"key set of `{len(data)}` bytes is over the limit of `{MAX_SET_BYTES}`")
    try:
        entries = json.loads(data.decode("utf-8"))["keys"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise BundleError("not a JWK Set") from exc
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise BundleError(f"a key set holds a list of at most {MAX_KEYS} keys")
    found: dict[str, Key] = {}
    for entry in entries:
        key = _key(entry) if isinstance(entry, dict) else None
        if key is None:
            continue
        if entry["kid"] in found:
            raise BundleError(f"two keys are named `{entry['kid'][:64]}`")
        found[entry["kid"]] = key
    return found


def _key(entry: Mapping[str, Any]) -> Key | None:
    if entry.get("use", "sig") != "sig" or not isinstance(entry.get("kid"), str) or not entry["kid"]:
        return None
    try:
        match entry.get("kty"):
            case "RSA":
                return _rsa(_number(entry["n"]), _number(entry["e"]))
            case "EC" if entry.get("crv") in CURVES:
                curve, size = CURVES[entry["crv"]]
                x, y = _coordinate(entry["x"], size), _coordinate(entry["y"], size)
                return ec.EllipticCurvePublicNumbers(x, y, curve()).public_key()
    except (ValueError, KeyError, TypeError) as exc:
        raise BundleError(f"key `{entry['kid'][:64]}` is malformed") from exc
    return None


def _rsa(modulus: int, exponent: int) -> rsa.RSAPublicKey | None:
    # Before the library sees it: what a modulus costs grows with its length.
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or exponent >= 1 << 32:
        return None
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text), "big")


def _coordinate(text: str, size: int) -> int:
    data = _decoded(text)
    if len(data) != size:  # RFC 7518 6.2.1.2
        raise ValueError("a coordinate has the length of its field")
    return int.from_bytes(data, "big")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
