"""Another trust domain, as little of it as federation sees: roots, JWT keys, and a bundle endpoint that does what the test says.

Real TLS on loopback, with certificates made at run time. `Web` makes those that browsers' rules are for.
"""

import contextlib
import datetime as dt
import ipaddress
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pki import Pki

from certs import bundle, keys
from certs.bundle import TrustBundle

PARTNER = "partner.example"
ENDPOINT = f"spiffe://{PARTNER}/bundle/endpoint"
Credential = tuple[bytes, bytes]
"""Key and chain, PEM."""


@dataclass
class Foreign:
    """A trust domain. `again` gives it other roots; `document` is its bundle now."""

    trust_domain: str = PARTNER
    sequence: int = 1
    hint_s: int = 1
    jwt_key: object = field(default_factory=keys.generate_p256)

    def __post_init__(self) -> None:
        self.roots = [self._root()]

    def _root(self) -> Pki:
        return Pki(now=int(time.time()), trust_domain=self.trust_domain)

    @property
    def kid(self) -> str:
        return bundle.key_id(self.jwt_key.public_key())

    def prepare(self) -> None:
        """A second root beside the one that signs."""
        self.roots.append(self._root())
        self.sequence += 1

    def activate(self) -> None:
        """The newest signs, and is the only one."""
        self.roots = self.roots[-1:]
        self.sequence += 1

    def document(self, **changes) -> bytes:
        made = TrustBundle(
            trust_domain=self.trust_domain,
            roots=tuple(one.root for one in self.roots),
            jwt_keys={self.kid: self.jwt_key.public_key()},
            sequence=self.sequence,
            refresh_hint_s=self.hint_s,
        )
        return json.dumps({**json.loads(bundle.dump(made)), **changes}).encode()

    def endpoint(self, *uris: str, ca: bool = False) -> Credential:
        """A certificate below the root that signs now, with these URI SANs."""
        signer = self.roots[0]
        return certificate(
            signer.root, signer.root_key, [x509.UniformResourceIdentifier(u) for u in uris], ca=ca
        )


class Web:
    """A CA of the Web."""

    def __init__(self) -> None:
        self.key = keys.generate_p256()
        self.pem = _self_signed(self.key)

    def site(self, host: str) -> Credential:
        ca = x509.load_pem_x509_certificate(self.pem).public_bytes(serialization.Encoding.DER)
        with contextlib.suppress(ValueError):
            return certificate(ca, self.key, [x509.IPAddress(ipaddress.ip_address(host))])
        return certificate(ca, self.key, [x509.DNSName(host)])


def certificate(issued_by: bytes, ca_key, names: list[x509.GeneralName], *, ca: bool = False) -> Credential:
    issuer = x509.load_der_x509_certificate(issued_by)
    key = keys.generate_p256()
    built = _builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "endpoint")]), issuer.subject, key)
    built = built.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    built = built.add_extension(_usage(signs=ca), critical=True)
    built = built.add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
        critical=False,
    )
    built = built.add_extension(
        x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
    )
    if names:
        built = built.add_extension(x509.SubjectAlternativeName(names), critical=False)
    leaf = built.sign(ca_key, hashes.SHA256())
    return keys.dump_private(key, None), leaf.public_bytes(serialization.Encoding.PEM)


def _self_signed(key) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a CA of the Web")])
    built = _builder(name, name, key)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    built = built.add_extension(_usage(signs=True), critical=True)
    built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _builder(subject: x509.Name, issuer: x509.Name, key) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=1))
        .not_valid_after(now + dt.timedelta(hours=1))
    )


def _usage(*, signs: bool) -> x509.KeyUsage:
    rest = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    return x509.KeyUsage(digital_signature=True, key_cert_sign=signs, crl_sign=signs, **rest)


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    head = "".join(f"{line}\r\n" for line in (f"HTTP/1.1 {status}", f"content-length: {len(body)}", *headers))
    return f"{head}\r\n".encode() + body


def redirect(url: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, f"location: {url}")


class Endpoint:
    """Answers each connection with `say(path)`: bytes as they go on the wire. `asked` counts."""

    def __init__(self, credential: Credential, say: Callable[[str], bytes]) -> None:
        self.say, self.asked, self.connected = say, [], 0
        self.show(credential)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._moved = threading.Condition()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def show(self, credential: Credential, *, newest_tls: ssl.TLSVersion | None = None) -> None:
        """Another certificate from the next connection on; perhaps no TLS newer than this."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if newest_tls:
            context.set_ciphers("ALL:@SECLEVEL=0")
            context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, newest_tls
        descriptor = os.memfd_create("credential")
        os.write(descriptor, b"".join(credential))
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        os.close(descriptor)
        self.context = context

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        return f"https://{host}:{self.port}{path}"

    def wait_asked(self, times: int, timeout_s: float = 20) -> None:
        """Until it was asked so many times more, or was connected to in vain."""
        with self._moved:
            wanted = self.connected + times
            assert self._moved.wait_for(lambda: self.connected >= wanted, timeout_s), (
                "it was not asked in time"
            )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)

    def _serve(self) -> None:
        while True:
            try:
                raw, _ = self._listening.accept()
            except OSError:
                return
            with contextlib.suppress(OSError, ValueError, IndexError):
                self._answer(raw)
            raw.close()
            with self._moved:
                self.connected += 1
                self._moved.notify_all()

    def _answer(self, raw: socket.socket) -> None:
        raw.settimeout(5)
        with self.context.wrap_socket(raw, server_side=True) as tls:
            request = b""
            while not request.endswith(b"\r\n\r\n"):
                received = tls.recv(4096)
                if not received:
                    return  # whoever connected did not like us
                request += received
            path = request.split(b" ")[1].decode()
            self.asked.append(path)
            tls.sendall(self.say(path))
            with contextlib.suppress(OSError):
                tls.unwrap()


@contextlib.contextmanager
def serving(of: Foreign, credential: Credential | None = None) -> Iterator[Endpoint]:
    """The endpoint of a trust domain, with the bundle that it has at each moment."""
    with Endpoint(credential or of.endpoint(ENDPOINT), lambda _: answer(of.document())) as made:
        yield made
