"""A CA that knows nothing of Writ: for machines, and for servers of others. Made at run time."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
_serials = itertools.count(1000)


def digest_for(key: Any) -> Any:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def usage(**given: bool) -> x509.KeyUsage:
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    names += ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: given.get(name, False) for name in names})


@dataclass
class Ca:
    """One CA, below `parent` or of itself."""

    name: str
    parent: "Ca | None" = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    key: Any = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def __post_init__(self) -> None:
        over = self.parent or self
        extensions = [(x509.BasicConstraints(ca=True, path_length=None), True), (usage(key_cert_sign=True, crl_sign=True), True)]  # fmt: skip
        builder = self._builder(self.name, self.key, over, timedelta(days=3650), extensions)
        self.certificate = builder.sign(over.key, digest_for(over.key))

    def machine(
        self,
        key: Any,
        *,
        common: str = "gpu-1",
        names: Sequence[x509.GeneralName] = (),
        purposes: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        lasts: timedelta = timedelta(days=365),
        extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
    ) -> bytes:
        """A certificate for whoever holds `key`, DER; `extensions` instead of those that machines have."""
        given = list(extensions) or [(usage(digital_signature=True), True)]
        if purposes:
            given.append((x509.ExtendedKeyUsage(purposes), False))
        if names:
            given.append((x509.SubjectAlternativeName(names), False))
        made = self._builder(common, key, self, lasts, given).sign(self.key, digest_for(self.key))
        return made.public_bytes(serialization.Encoding.DER)

    def server(self, directory: Path) -> None:
        """server.key and server.crt, for localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        der = self.machine(key, common="localhost", names=[x509.DNSName("localhost")], purposes=[SERVER])
        (directory / "server.key").write_bytes(pem_of(key))
        (directory / "server.crt").write_bytes(pem(der))

    def _builder(self, name: str, key: Any, over: "Ca", lasts: timedelta, extensions: Any) -> Any:
        issuer = over.name
        built = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(next(_serials))
            .not_valid_before(self.now - timedelta(hours=1))
            .not_valid_after(self.now + lasts)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(over.key.public_key()), critical=False
            )
        )
        for extension, critical in extensions:
            built = built.add_extension(extension, critical=critical)
        return built

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)


def pem(*ders: bytes) -> bytes:
    loaded = map(x509.load_der_x509_certificate, ders)
    return b"".join(cert.public_bytes(serialization.Encoding.PEM) for cert in loaded)


def pem_of(key: Any) -> bytes:
    return bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
