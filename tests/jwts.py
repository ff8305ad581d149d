"""JSON web tokens of any shape, signed by whoever the test says: what our control plane would never make."""

import base64
import json
import time
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NO = object()
"""Leaves a member out."""


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(value: Any) -> str:
    return b64(value if isinstance(value, bytes) else json.dumps(value).encode())


def es256(key: ec.EllipticCurvePrivateKey, signed: bytes) -> bytes:
    r, s = decode_dss_signature(key.sign(signed, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def claims(subject: str, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {"sub": subject, "aud": ["api"], "exp": now + 60, "iat": now, **changes}
    return {name: value for name, value in whole.items() if value is not NO}


def header(key_id: str, **changes: Any) -> dict[str, Any]:
    whole = {"alg": "ES256", "kid": key_id, "typ": "JWT", **changes}
    return {name: value for name, value in whole.items() if value is not NO}


def token(head: Any, body: Any, key: ec.EllipticCurvePrivateKey) -> str:
    signed = f"{part(head)}.{part(body)}"
    return f"{signed}.{b64(es256(key, signed.encode()))}"
