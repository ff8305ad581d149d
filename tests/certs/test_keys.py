"""Keys: two kinds, one format, and nothing else is read."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from certs import keys
from certs.errors import KeyFormatError

P256, ED25519 = keys.generate_p256(), keys.generate_ed25519()
PKCS8 = serialization.PrivateFormat.PKCS8


def pem(key) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, PKCS8, serialization.NoEncryption())


@pytest.mark.parametrize("key", [P256, ED25519])
@pytest.mark.parametrize("passphrase", [None, b"correct horse"])
def test_a_key_survives_its_file(key, passphrase) -> None:
    written = keys.dump_private(key, passphrase)
    assert (b"ENCRYPTED" in written) is (passphrase is not None)
    assert keys.spki(keys.load_private(written, passphrase).public_key()) == keys.spki(key.public_key())


@pytest.mark.parametrize(
    ("data", "passphrase"),
    [
        (keys.dump_private(P256, b"right"), b"wrong"),
        (keys.dump_private(P256, b"right"), None),
        (keys.dump_private(P256, b"right"), b""),
        (keys.dump_private(P256, None), b"unasked"),  # a plain key where an encrypted one belongs
        (pem(rsa.generate_private_key(65537, 2048)), None),
        (pem(ec.generate_private_key(ec.SECP384R1())), None),
        (pem(ec.generate_private_key(ec.SECP256K1())), None),
        (b"", None),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None),
        (pem(P256)[:-40], None),
        (b"x" * (keys.MAX_PEM_BYTES + 1), None),
    ],
)
def test_what_is_not_one_of_our_keys_is_refused(data, passphrase) -> None:
    with pytest.raises(KeyFormatError):
        keys.load_private(data, passphrase)


def test_an_empty_passphrase_protects_nothing_and_is_refused() -> None:
    with pytest.raises(KeyFormatError, match="empty"):
        keys.dump_private(P256, b"")


def test_an_error_names_neither_passphrase_nor_key() -> None:
    with pytest.raises(KeyFormatError) as caught:
        keys.load_private(keys.dump_private(P256, b"right"), b"canary-passphrase")
    assert "canary" not in str(caught.value)


def test_signing_the_same_bytes_again_gives_the_same_signature() -> None:
    """After a crash the stored bytes are signed again: that must be the same certificate (RFC 6979)."""
    assert keys.sign(P256, b"tbs") == keys.sign(P256, b"tbs") != keys.sign(P256, b"other")
    P256.public_key().verify(keys.sign(P256, b"tbs"), b"tbs", keys.ECDSA_SHA256)
    ED25519.public_key().verify(keys.sign(ED25519, b"note"), b"note")
    with pytest.raises(InvalidSignature):
        P256.public_key().verify(keys.sign(P256, b"tbs"), b"other", keys.ECDSA_SHA256)


def test_a_key_is_named_by_its_whole_public_info() -> None:
    assert len(keys.spki_sha256(P256.public_key())) == 32
    assert len(keys.raw(ED25519.public_key())) == 32
    assert keys.spki_sha256(P256.public_key()) != keys.spki_sha256(keys.generate_p256().public_key())
