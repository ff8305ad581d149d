"""Certificates that our issuer would never make, signed by whoever the test says. What is not named is as we issue it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from pki import CLINICAL, TD, Pki

from certs import keys, spiffe
from certs.attributes import Attributes, subject
from certs.template import leaf_extensions

GPU_1 = spiffe.node_id(TD, "FR", "paris", "gpu-1")
OU = x509.oid.NameOID.ORGANIZATIONAL_UNIT_NAME
UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def uri(text: str) -> x509.UniformResourceIdentifier:
    """A URI SAN of any ASCII text, well formed or not."""
    return x509.UniformResourceIdentifier._init_without_validation(text)


def usage(**bits: bool) -> x509.KeyUsage:
    """Key usage with exactly these bits."""
    names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
    more = ("key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only")
    return x509.KeyUsage(**{name: bits.get(name, False) for name in names + more})


def name_of(epoch: str = "1", attributes: Attributes = CLINICAL, **changes: Any) -> x509.Name:
    """The subject of GPU_1 with other parts; `more` appends, `drop` removes OUs, `kind` retypes."""
    parts = [(part.oid, part.value, part._type) for part in subject(GPU_1, 1, attributes)]
    oids = {"cn": "COMMON_NAME", "o": "ORGANIZATION_NAME", "l": "LOCALITY_NAME", "c": "COUNTRY_NAME"}
    wanted = {getattr(x509.oid.NameOID, oids[key]): value for key, value in changes.items() if key in oids}
    wanted[x509.oid.NameOID.SERIAL_NUMBER] = epoch
    kept = [
        x509.NameAttribute(oid, wanted.get(oid, value), changes.get("kind", kind), _validate=False)
        for oid, value, kind in parts
        if not (oid == OU and "drop" in changes and value.startswith(changes["drop"]))
    ]
    added = [x509.NameAttribute(oid, value, _validate=False) for oid, value in changes.get("more", ())]
    return x509.Name(kept + added)


@dataclass(kw_only=True)
class Forged:
    """One leaf, to be changed part by part, then `der(pki)`."""

    uris: list[str] = field(default_factory=lambda: [str(GPU_1)])
    subject: x509.Name = field(default_factory=name_of)
    replace: dict[type, tuple[x509.ExtensionType, bool] | None] = field(default_factory=dict)
    add: list[tuple[x509.ExtensionType, bool]] = field(default_factory=list)
    starts: int = -60
    lasts: int = 3600
    key: Any = field(default_factory=keys.generate_p256)
    digest: Any = field(default_factory=hashes.SHA256)

    def der(self, pki: Pki, issuer: bytes | None = None, issuer_key: Any = None) -> bytes:
        """Signed by the node CA, or by another issuer and key."""
        ca = x509.load_der_x509_certificate(issuer or pki.node_ca)
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.subject)
            .issuer_name(ca.subject)
            .public_key(self.key.public_key())
            .serial_number(4711)
            .not_valid_before(datetime.fromtimestamp(pki.now + self.starts, UTC))
            .not_valid_after(datetime.fromtimestamp(pki.now + self.lasts, UTC))
        )
        for value, critical in self._extensions(ca):
            builder = builder.add_extension(value, critical)
        signed = builder.sign(issuer_key or pki.node_ca_key, self.digest)
        return signed.public_bytes(serialization.Encoding.DER)

    def _extensions(self, ca: x509.Certificate) -> list[tuple[x509.ExtensionType, bool]]:
        names = [*map(uri, self.uris), x509.DNSName("gpu-1.paris.acme.example")]
        ours = [*leaf_extensions(ca), (x509.SubjectAlternativeName(names), False)]
        ours.append((x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), False))
        changed = [self.replace.get(type(value), (value, critical)) for value, critical in ours]
        return [entry for entry in changed if entry is not None] + self.add
