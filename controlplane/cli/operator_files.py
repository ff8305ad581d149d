"""What an operator has on disk: a key that waits for its certificate, the grant that brings it, the context it becomes.

A grant is public and travels as it likes; it says whom to believe as the control plane, so it must come from whom the
operator trusts. It is accepted only for the key that waits here.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs import keys, spiffe
from certs.csr import make_csr
from certs.errors import CertError
from controlplane.api import files
from controlplane.cli import context as contexts
from controlplane.cli import context_files, documents
from controlplane.cli.context_files import Material
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

PEM, DER = serialization.Encoding.PEM, serialization.Encoding.DER
GRANT = ("name", "address", "trust_domain", "certificate", "ca")


def new_key() -> tuple[bytes, bytes]:
    """(private key as PEM, signing request as DER)."""
    key = keys.generate_p256()
    return keys.dump_private(key, None), make_csr(key)


def request(name: str) -> str:
    """Keep a new key beside the contexts; its request, PEM."""
    try:
        spiffe.dns_label(name)
    except CertError as exc:
        raise CliError(str(exc), code=Exit.USAGE) from exc
    key, csr = new_key()
    path = _waiting(name)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    files.write(path, key)
    return x509.load_der_x509_csr(csr).public_bytes(PEM).decode()


def read_request(path: Path) -> bytes:
    """DER."""
    try:
        return x509.load_pem_x509_csr(documents.read_text(path).encode()).public_bytes(DER)
    except ValueError as exc:
        hint = "writ operator request NAME > NAME.csr"
        raise CliError(f"`{path}` is no signing request", code=Exit.USAGE, hint=hint) from exc


def dump_grant(made: "admin_pb2.OperatorGrant", address: str) -> str:
    document = {
        "name": made.operator.name,
        "address": address,
        "trust_domain": made.trust_domain,
        "certificate": _pem(made.chain),
        "ca": _pem(made.control_plane_cas),
    }
    return json.dumps(document, indent=1) + "\n"


def accept(path: Path, context: str | None) -> str:
    """The context that a grant became."""
    given = documents.read_json(path)
    if (
        not isinstance(given, dict)
        or set(given) != set(GRANT)
        or not all(isinstance(v, str) for v in given.values())
    ):
        raise CliError(f"`{path}` is no grant", code=Exit.USAGE, hint="it is what `writ operator add` prints")
    key_path = _waiting(given["name"])
    try:
        key = key_path.read_bytes()
    except OSError as exc:
        hint = "accept where `writ operator request` was run"
        raise CliError(
            f"no key waits here for `{given['name'][:63]}`", code=Exit.NOT_FOUND, hint=hint
        ) from exc
    _check_pair(given["certificate"].encode(), key)
    material = Material(ca=given["ca"].encode(), certificate=given["certificate"].encode(), key=key)
    name = context or f"{given['trust_domain']}-{given['name']}"
    entry = {"address": given["address"], "trust_domain": given["trust_domain"]}
    context_files.save(contexts.config_path(), name, entry, material, make_current=True)
    key_path.unlink()
    return name


def replace(context: contexts.Context, key: bytes, made: "admin_pb2.OperatorGrant") -> None:
    """The same context with a new key and certificate, and the control planes of now."""
    certificate = _pem(made.chain).encode()
    _check_pair(certificate, key)
    material = Material(ca=_pem(made.control_plane_cas).encode(), certificate=certificate, key=key)
    context_files.save(contexts.config_path(), context.name, {}, material, make_current=False)


def _check_pair(certificate: bytes, key: bytes) -> None:
    try:
        leaf = x509.load_pem_x509_certificate(certificate)
        same = leaf.public_key() == keys.load_private(key, None).public_key()
    except (ValueError, CertError) as exc:
        raise CliError("the grant holds no certificate", code=Exit.USAGE) from exc
    if not same:
        raise CliError("the certificate is for another key", code=Exit.VERIFICATION, hint="request again")


def _waiting(name: str) -> Path:
    try:
        return contexts.config_path().parent / f"operator-{spiffe.dns_label(name)}.key.pem"
    except CertError as exc:
        raise CliError(str(exc), code=Exit.USAGE) from exc


def _pem(chain: Iterable[bytes]) -> str:
    return "".join(x509.load_der_x509_certificate(one).public_bytes(PEM).decode() for one in chain)
