"""Revocation lists as others read them: complete for one CA, fresh, and signed by it alone."""

import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID
from pki import NOW, Pki

from certs import crl, keys
from certs.crl import Entry
from certs.issue import IssuingCa
from certs.verify import load

PKI = Pki()
CA = IssuingCa(PKI.node_ca, "node-ca")
GONE, GOOD = PKI.node("gone"), PKI.node("good")
ENTRY = Entry(serial=load(GONE.der).serial_number, at=NOW - 5, reason=x509.ReasonFlags.privilege_withdrawn)


def made(*entries: Entry, generation: int = 7, now: int = NOW, key=PKI.node_ca_key) -> bytes:
    prepared = crl.prepare(CA, entries, generation=generation, now=now)
    return crl.sign(prepared, lambda tbs: keys.sign(key, tbs))


def number(der: bytes) -> int:
    return (
        x509.load_der_x509_crl(der).extensions.get_extension_for_oid(ExtensionOID.CRL_NUMBER).value.crl_number
    )


def openssl(tmp_path: Path, leaf: bytes, der: bytes, at: int = NOW) -> str:
    """What `openssl verify -crl_check` says of a leaf."""
    for name, content in (("root", PKI.root), ("ca", PKI.node_ca), ("leaf", leaf)):
        pem = x509.load_der_x509_certificate(content).public_bytes(Encoding.PEM)
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "crl").write_bytes(crl.pem([der]))
    command = [
        "openssl",
        "verify",
        "-x509_strict",
        "-attime",
        str(at),
        "-crl_check",
        "-CRLfile",
        tmp_path / "crl",
    ]
    chain = ["-CAfile", tmp_path / "root", "-untrusted", tmp_path / "ca", tmp_path / "leaf"]
    done = subprocess.run([*command, *chain], capture_output=True, text=True, check=False)
    return "ok" if done.returncode == 0 else done.stderr


def test_openssl_refuses_the_revoked_and_accepts_the_others(tmp_path) -> None:
    assert "certificate revoked" in openssl(tmp_path, GONE.der, made(ENTRY))
    assert openssl(tmp_path, GOOD.der, made(ENTRY)) == "ok"
    assert openssl(tmp_path, GONE.der, made()) == "ok"


@pytest.mark.parametrize(
    ("der", "at", "why"),
    [
        (made(ENTRY, key=PKI.workload_ca_key), NOW, "CRL signature failure"),
        (made(ENTRY), NOW + crl.LIFETIME_S + 1, "CRL has expired"),
        (made(ENTRY), NOW - crl.BACKDATE_S - 1, "CRL is not yet valid"),
    ],
)
def test_a_list_that_proves_nothing_lets_nobody_pass(tmp_path, der, at, why) -> None:
    assert why in openssl(tmp_path, GOOD.der, der, at)


def test_numbers_rise_with_generation_and_time() -> None:
    ordered = [
        made(generation=7),
        made(generation=7, now=NOW + 1),
        made(generation=8),
        made(generation=9, now=NOW + 9),
    ]
    numbers = [number(der) for der in ordered]
    assert numbers == sorted(set(numbers))
    assert numbers[-1].bit_length() < 20 * 8  # RFC 5280 5.2.3


def test_entries_say_since_when_and_why() -> None:
    (found,) = x509.load_der_x509_crl(made(ENTRY))
    assert (found.serial_number, int(found.revocation_date_utc.timestamp())) == (ENTRY.serial, NOW - 5)
    assert found.extensions.get_extension_for_class(x509.CRLReason).value.reason is ENTRY.reason
