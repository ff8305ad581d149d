"""Evidence of which machine or pod this is, made anew each time it is asked for: files are read then, so that what was
replaced on disk counts.

A proof by a machine's certificate covers the signing request and a nonce of the control plane that asks: it is of no use
elsewhere. A service-account token is a bearer token, and goes to a verified control plane alone.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from agent.errors import ConfigError, EnrolError
from certs import machine
from certs.errors import KeyFormatError
from controlplane.api.gen import enrolment_pb2

CONTEXT = b"writ-attest\n"
MAX_TOKEN_BYTES = 16384
Challenge = Callable[[bytes], Awaitable[bytes]]
"""Certificate -> nonce."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where evidence comes from: one of the two, or nothing."""

    kubernetes_token_file: Path | None = None
    certificate_file: Path | None = None  # PEM, the machine's certificate first
    key_file: Path | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) is not (self.key_file is None):
            raise ConfigError("`attest.certificate_file` and `attest.key_file` go together")
        if self.certificate_file and self.kubernetes_token_file:
            raise ConfigError("`attest` takes a service-account token or a machine certificate, not both")

    def __bool__(self) -> bool:
        return bool(self.kubernetes_token_file or self.certificate_file)


async def evidence(source: Source, csr: bytes, challenge: Challenge) -> enrolment_pb2.AttestationEvidence:
    """What proves, for `csr`, where we are; EnrolError when it cannot be made."""
    if source.kubernetes_token_file:
        return enrolment_pb2.AttestationEvidence(kubernetes=_token(source.kubernetes_token_file))
    if source.certificate_file and source.key_file:
        chain, key = _chain(source.certificate_file), _key(source.key_file)
        nonce = await challenge(chain[0])
        proof = enrolment_pb2.X509Proof(
            chain=chain, nonce=nonce, signature=machine.sign(key, CONTEXT + nonce + csr)
        )
        return enrolment_pb2.AttestationEvidence(x509pop=proof)
    raise EnrolError(
        "the control plane wants evidence, and none is configured",
        hint="attest.kubernetes_token_file, or attest.certificate_file and key_file",
    )


def _token(path: Path) -> str:
    try:
        text = path.read_bytes()[:MAX_TOKEN_BYTES].decode("ascii").strip()
    except OSError as exc:
        raise EnrolError(f"cannot read the service-account token `{path}`: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise EnrolError(f"`{path}` holds no service-account token") from exc
    return text


def _chain(path: Path) -> list[bytes]:
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError) as exc:
        raise EnrolError(f"`{path}` holds no certificates: {exc}") from exc
    return [cert.public_bytes(serialization.Encoding.DER) for cert in found]


def _key(path: Path) -> machine.MachinePrivateKey:
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise EnrolError(f"`{path}` holds no private key: {exc}") from exc
    try:
        return machine.check_private(key)
    except KeyFormatError as exc:
        raise EnrolError(f"`{path}`: {exc}") from exc
