"""Key sets of issuers (RFC 7517), read strictly: the public keys that verify signatures, by key id.

An issuer's set also holds keys that are not for us. Left out, as RFC 7517 5 asks: those of another kind, use or size, those
without an id, what is malformed, and what comes with its private half. Refused whole: what is no set, is too large, or names
a key twice.
NOT checked: whose set it is, and how old.
"""

import base64
from collections.abc import Collection, Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs import jws
from certs.errors import TokenError
from certs.jws import ALGORITHMS, CURVES, Key

MAX_BYTES, MAX_KEYS = 1 << 18, 64
MIN_RSA_BITS, MAX_RSA_BITS = 2048, 8192
PRIVATE = {"d", "k", "p", "q"}


def read(data: bytes, algorithms: Collection[str]) -> dict[str, Key]:
    """The keys that one of `algorithms` asks for; TokenError when this is no key set."""
    if len(data) > MAX_BYTES:
        raise TokenError(f"key set of `{len(data)}` bytes is over the limit of `{MAX_BYTES}`")
    listed = jws.json_object(data, "key set").get("keys")
    if not isinstance(listed, list) or len(listed) > MAX_KEYS:
        raise TokenError(f"key set does not list at most {MAX_KEYS} keys")
    kinds = {ALGORITHMS[name] for name in algorithms}
    found: dict[str, Key] = {}
    for entry in listed:
        key = _key(entry) if isinstance(entry, dict) else None
        if key is None or jws.kind_of(key) not in kinds:
            continue
        if entry["kid"] in found:  # which of them signed would be the attacker's choice
            raise TokenError(f"key set names `{entry['kid'][:64]}` twice")
        found[entry["kid"]] = key
    return found


def _key(entry: Mapping[str, Any]) -> Key | None:
    """A key that may verify, or None."""
    if PRIVATE & entry.keys() or entry.get("use", "sig") != "sig":
        return None
    if not isinstance(entry.get("kid"), str) or not entry["kid"]:
        return None
    try:
        if entry.get("kty") == "RSA":
            return _rsa(_number(entry["n"]), _number(entry["e"]))
        if entry.get("kty") == "EC" and entry.get("crv") in CURVES:
            curve = CURVES[entry["crv"]]()
            x, y = (_coordinate(entry[name], curve) for name in ("x", "y"))
            return ec.EllipticCurvePublicNumbers(x, y, curve).public_key()
    except (ValueError, KeyError, TypeError):
        return None
    return None


def _rsa(modulus: int, exponent: int) -> rsa.RSAPublicKey | None:
    # Before the library sees it: what a modulus costs grows with its length.
    if not MIN_RSA_BITS <= modulus.bit_length() <= MAX_RSA_BITS or exponent >= 1 << 32:
        return None
    return rsa.RSAPublicNumbers(exponent, modulus).public_key()


def _coordinate(text: str, curve: ec.EllipticCurve) -> int:
    data = _decoded(text)
    if len(data) != curve.key_size // 8:  # RFC 7518 6.2.1.2
        raise ValueError("a coordinate has the length of its field")
    return int.from_bytes(data, "big")


def _number(text: str) -> int:
    return int.from_bytes(_decoded(text), "big")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
