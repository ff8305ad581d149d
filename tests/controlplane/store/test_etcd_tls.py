"""etcd behind mTLS: the server is verified, we show a certificate, and strangers on either side get nowhere."""

import datetime as dt
import ipaddress

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs import keys
from controlplane.cli.demo.etcd import Etcd
from controlplane.errors import UnavailableError
from controlplane.store.etcd.connection import Access
from controlplane.store.etcd.store import EtcdStore
from controlplane.store.sealing import Sealer

DAY = dt.timedelta(days=1)


class Authority:
    """A CA of nobody's mesh, as an etcd operator has one."""

    def __init__(self) -> None:
        self._key = keys.generate_p256()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "etcd CA")])
        self.pem = self._sign(self._name, self._key, ca=True)

    def leaf(self) -> tuple[bytes, bytes]:
        """With an RSA key: for an etcd that speaks TLS 1.2, our processes know no other (`controlplane.__main__`)."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        kind, form = serialization.PrivateFormat.PKCS8, serialization.Encoding.PEM
        return self._sign(name, key, ca=False), key.private_bytes(form, kind, serialization.NoEncryption())

    def _sign(self, name, key, *, ca: bool) -> bytes:
        now = dt.datetime.now(dt.UTC)
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        builder = (
            x509.CertificateBuilder(self._name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


async def test_both_sides_are_verified(tmp_path) -> None:
    ours, other = Authority(), Authority()
    certificate, key = ours.leaf()
    for name, content in (("ca", ours.pem), ("certificate", certificate), ("key", key)):
        (tmp_path / name).write_bytes(content)
    flags = ["--client-cert-auth", "--trusted-ca-file", str(tmp_path / "ca")]
    flags += ["--cert-file", str(tmp_path / "certificate"), "--key-file", str(tmp_path / "key")]
    with Etcd(tmp_path / "etcd", flags=flags, secure=True) as etcd:
        endpoints, sealer = tuple(etcd.endpoints), Sealer([b"k" * 32])
        mine, mine_key = ours.leaf()
        store = await EtcdStore.create(
            Access(endpoints=endpoints, ca=ours.pem, certificate=mine, key=mine_key),
            "/p/", sealer, "one", "acme.example",
        )  # fmt: skip
        revision = await store.commit(expect={}, put={"a": b"1"})
        assert (await anext(store.watch("", revision - 1))).value == b"1"
        await store.close()
        foreign, foreign_key = other.leaf()
        for access in (
            Access(endpoints=endpoints),
            Access(endpoints=endpoints, ca=ours.pem),
            Access(endpoints=endpoints, ca=other.pem, certificate=mine, key=mine_key),
            Access(endpoints=endpoints, ca=ours.pem, certificate=foreign, key=foreign_key),
        ):
            with pytest.raises(UnavailableError, match="gives no answer"):
                await EtcdStore.open(access, "/p/", sealer, "two", "acme.example")
