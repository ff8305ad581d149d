"""Channels to the control plane. Only a control-plane CA below our pinned root is believed there.

First contact: the server's chain is fetched without belief, its root held against the hash in the join token, the CA checked
below it, and only then is a verified channel opened with that CA as the only anchor.
"""

import asyncio
import hashlib
import socket
import ssl
from collections.abc import Sequence
from typing import Any

import grpc

from agent import identity as identities
from agent.errors import EnrolError
from agent.identity import Identity
from certs import verify
from certs.errors import CertError
from certs.profile import CaKind

FIRST_CONTACT_S = 10
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


def mutual(address: str, trust_domain: str, cas: tuple[bytes, ...], identity: Identity) -> grpc.aio.Channel:
    """A channel that shows our certificate, and not its CA's: control planes know it, and would keep it for as long as we stay."""
    leaf = identities.pem(identity.chain[0])
    credentials = grpc.ssl_channel_credentials(identities.pem(*cas), identity.key_pem, leaf)
    return grpc.aio.secure_channel(address, credentials, options=_options(trust_domain))


def anonymous(address: str, trust_domain: str, ca: bytes) -> grpc.aio.Channel:
    """A channel for enrolment: the server is verified, we have nothing to show yet."""
    credentials = grpc.ssl_channel_credentials(identities.pem(ca))
    return grpc.aio.secure_channel(address, credentials, options=_options(trust_domain))


async def shown(address: str) -> list[bytes]:
    """The chain of the server at `address`, DER, believed for nothing."""
    host, _, port = address.rpartition(":")
    try:
        async with asyncio.timeout(FIRST_CONTACT_S):
            return await asyncio.get_running_loop().run_in_executor(
                None, _fetch_chain, host.strip("[]"), int(port)
            )
    except (OSError, TimeoutError, ValueError) as exc:
        raise EnrolError(f"control plane `{address}` cannot be reached: {exc}") from exc


def of_hash(chain: Sequence[bytes], root_sha256: str, address: str) -> bytes:
    """The root that was pinned by its hash, out of what a server shows."""
    roots = [der for der in chain if hashlib.sha256(der).hexdigest() == root_sha256]
    if not roots:
        raise EnrolError(
            f"`{address}` does not show the root that the join token names", hint="is this the right mesh?"
        )
    return roots[0]


def below(roots: Sequence[bytes], chain: Sequence[bytes], address: str, now: int) -> bytes:
    """The control-plane CA below one of these roots that a chain shows."""
    for ca in chain:
        try:
            verify.check_issuing_ca_of(ca, roots, CaKind.CONTROL_PLANE, now)
        except CertError:
            continue
        return ca
    raise EnrolError(f"`{address}` shows no control-plane CA below the root")


def _fetch_chain(host: str, port: int) -> list[bytes]:
    """The certificates a server shows, unverified: the caller decides what they prove."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection((host, port), timeout=FIRST_CONTACT_S) as raw,
        context.wrap_socket(raw) as tls,
    ):
        return [_der(cert) for cert in _unverified_chain(tls)]


def _unverified_chain(tls: ssl.SSLSocket) -> list[Any]:
    """Public since Python 3.13, and there before under the wrapped object."""
    public = getattr(tls, "get_unverified_chain", None)
    return list(public() if public else tls._sslobj.get_unverified_chain())  # type: ignore[attr-defined]  # noqa: SLF001


def _der(certificate: Any) -> bytes:
    return (
        certificate
        if isinstance(certificate, bytes)
        else ssl.PEM_cert_to_DER_cert(certificate.public_bytes())
    )


def _options(trust_domain: str) -> list[tuple[str, Any]]:
    # The certificate names the role, not the host: an address may be anything that reaches it.
    return [*OPTIONS, ("grpc.ssl_target_name_override", f"control-plane.{trust_domain}")]
