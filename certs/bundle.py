"""SPIFFE trust bundles: the keys of one trust domain, as a JWK Set, written and read by the letter of the standard.

Reading: what is not understood is left out, as SPIFFE Trust Domain and Bundle 4.2 asks; what is malformed refuses the
whole. A bundle without keys is one: it believes nobody. Bundles of different trust domains are never merged.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from certs import spiffe
from certs.errors import BundleError, CertError
from certs.keys import is_p256, spki_sha256
from certs.verify import load as load_certificate

MAX_BYTES = 1 << 20
REFRESH_HINT_S = 300  # the standard's default; a change is pushed anyway
COORDINATE = 32
MAX_KID = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustBundle:
    """Whom to believe for one trust domain: roots (DER) and JWT keys by key id. Empty: nobody."""

    trust_domain: str
    roots: tuple[bytes, ...] = ()
    jwt_keys: Mapping[str, ec.EllipticCurvePublicKey] = field(default_factory=dict)
    sequence: int | None = None
    refresh_hint_s: int = REFRESH_HINT_S

    @property
    def spiffe_id(self) -> str:
        """What names the trust domain where bundles are listed."""
        return f"spiffe://{self.trust_domain}"


def key_id(key: ec.EllipticCurvePublicKey) -> str:
    """The `kid` of a JWT key: half of what names it, 32 hex digits."""
    return spki_sha256(key).hex()[:32]


def dump(bundle: TrustBundle) -> bytes:
    """The SPIFFE bundle document: what a federated trust domain fetches."""
    x509 = [{**_jwk_of_root(der), "use": "x509-svid"} for der in bundle.roots]
    document: dict[str, Any] = {
        "keys": x509 + _jwt_jwks(bundle),
        "spiffe_refresh_hint": bundle.refresh_hint_s,
    }
    if bundle.sequence is not None:
        document["spiffe_sequence"] = bundle.sequence
    return json.dumps(document, separators=(",", ":")).encode()


def dump_jwks(bundle: TrustBundle) -> bytes:
    """The JWT keys alone, as the Workload API gives them: a plain JWK Set, no other use, no member of SPIFFE's."""
    return json.dumps({"keys": _jwt_jwks(bundle)}, separators=(",", ":")).encode()


def load(data: bytes, trust_domain: str) -> TrustBundle:
    """Read the bundle of `trust_domain`; who that is, the caller knows: no bundle names its own."""
    document = parse(data)
    if not isinstance(document.get("keys"), list):
        raise BundleError("bundle has no `keys`")
    sequence, hint = number(document, "spiffe_sequence"), number(document, "spiffe_refresh_hint")
    entries = [entry for entry in document["keys"] if isinstance(entry, dict)]
    roots = (_root(entry) for entry in entries if entry.get("use") == "x509-svid")
    found = (_jwt_key(entry) for entry in entries if entry.get("use") == "jwt-svid")
    keys = [pair for pair in found if pair is not None]
    if len(dict(keys)) != len(keys):
        raise BundleError("two keys have one `kid`")
    return TrustBundle(
        trust_domain=spiffe.trust_domain(trust_domain),
        roots=tuple(der for der in roots if der is not None),
        jwt_keys=dict(keys),
        sequence=sequence,
        refresh_hint_s=REFRESH_HINT_S if hint is None else hint,
    )


def _jwk_of_root(der: bytes) -> dict[str, Any]:
    key = load_certificate(der).public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise RuntimeError("our roots hold P-256 keys")
    # RFC 7517 4.7: x5c is base64, not base64url. No kid: X509-SVID 6.1.
    return {**_jwk(key), "x5c": [base64.b64encode(der).decode()]}


def _jwt_jwks(bundle: TrustBundle) -> list[dict[str, Any]]:
    return [{**_jwk(key), "kid": kid, "use": "jwt-svid"} for kid, key in sorted(bundle.jwt_keys.items())]


def _jwk(key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    point = key.public_numbers()
    x, y = (_b64url(number.to_bytes(COORDINATE, "big")) for number in (point.x, point.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object in which no name occurs twice."""
    if len(data) > MAX_BYTES:
        raise BundleError(f"bundle of `{len(data)}` bytes is over the limit of `{MAX_BYTES}`")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as exc:
        raise BundleError("bundle is not JSON with distinct names") from exc
    if not isinstance(document, dict):
        raise BundleError("bundle is no object")
    return document


def number(document: Mapping[str, Any], name: str) -> int | None:
    """A member that is a whole number, or absent."""
    value = document.get(name)
    if value is not None and (type(value) is not int or value < 0):
        raise BundleError(f"`{name}` is no number")
    return value


def _root(entry: Mapping[str, Any]) -> bytes | None:
    """The first certificate; an entry without one, or of a kind we cannot use, says nothing."""
    chain = entry.get("x5c")
    if not isinstance(chain, list) or not chain or not isinstance(chain[0], str):
        return None
    try:
        der = base64.b64decode(chain[0], validate=True)
        load_certificate(der)
    except (ValueError, CertError) as exc:
        raise BundleError("`x5c` holds no certificate") from exc
    return der


def _jwt_key(entry: Mapping[str, Any]) -> tuple[str, ec.EllipticCurvePublicKey] | None:
    kid = entry.get("kid")
    if (entry.get("kty"), entry.get("crv")) != ("EC", "P-256") or not isinstance(kid, str) or not kid:
        return None
    if len(kid) > MAX_KID or not kid.isprintable():
        raise BundleError(f"a `kid` is not 1 to {MAX_KID} printable characters")
    try:
        x, y = (int.from_bytes(_unb64url(entry[name]), "big") for name in ("x", "y"))
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except (ValueError, KeyError, TypeError) as exc:
        raise BundleError(f"key `{kid[:64]}` is no P-256 point") from exc
    return kid, key


def public_key(spki: bytes) -> ec.EllipticCurvePublicKey:
    """A JWT key from its SubjectPublicKeyInfo, as trust documents carry it."""
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, TypeError) as exc:
        raise BundleError("JWT key cannot be read") from exc
    if not isinstance(key, ec.EllipticCurvePublicKey) or not is_p256(key):
        raise BundleError("JWT key is not P-256")
    return key


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _unb64url(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
