"""Key sets of issuers: which keys verify, and which sets are refused whole."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from issuer import jwk
from jwts import b64

from certs import jwk_set, jws
from certs.errors import TokenError

KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)


@pytest.mark.parametrize(
    "entry",
    [
        {"kty": "oct", "kid": "x", "k": "c2VjcmV0", "alg": "HS256"},
        jwk(rsa.generate_private_key(65537, 1024), "x"),
        {**jwk(RSA_KEY, "x"), "n": b64(b"\xff" * 1025)},
        {**jwk(RSA_KEY, "x"), "n": "***"},
        jwk(RSA_KEY, "x", d="AQAB"),
        jwk(RSA_KEY, ""),
        jwk(KEY, "x", use="enc"),
        jwk(KEY, "x", d="AAAA"),
        {**jwk(KEY, "x"), "crv": "P-384"},
        {**jwk(KEY, "x"), "y": "AAAA"},
        {**jwk(KEY, "x"), "x": b64(b"\1" * 32), "y": b64(b"\1" * 32)},
        {"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": "AAAA"},
        {"kid": "x"},
        {**jwk(KEY, "x"), "kid": 5},
        7,
        "x",
    ],
)  # fmt: skip
def test_a_key_that_must_not_verify_is_none(entry) -> None:
    listed = {"keys": [entry, jwk(KEY, "good"), jwk(RSA_KEY, "also good", use="sig")]}
    assert set(jwk_set.read(json.dumps(listed).encode(), jws.ALGORITHMS)) == {"good", "also good"}


def test_a_key_that_no_accepted_algorithm_asks_for_is_left_out() -> None:
    listed = json.dumps({"keys": [jwk(KEY, "ec"), jwk(RSA_KEY, "rsa")]}).encode()
    assert set(jwk_set.read(listed, {"ES256"})) == {"ec"}
    assert set(jwk_set.read(listed, {"RS256", "ES384"})) == {"rsa"}


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [], "keys": []}', b"\xff", b"[" * 100_000,
        b" " * jwk_set.MAX_BYTES + b'{"keys": []}',
        json.dumps({"keys": [jwk(KEY, "x")] * 2}).encode(),
        json.dumps({"keys": [{}] * (jwk_set.MAX_KEYS + 1)}).encode(),
    ],
)  # fmt: skip
def test_a_key_set_that_is_none_is_refused_whole(document) -> None:
    with pytest.raises(TokenError):
        jwk_set.read(document, jws.ALGORITHMS)
