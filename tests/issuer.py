"""An OpenID Connect issuer as a process of its own: real HTTPS, a real key that signs, the device flow.

`python issuer.py DIR` serves the directory: `discovery.json`, `jwks.json` and `groups.json` are read at every request, so that
a test changes what the issuer says by writing files. A code is entered by GET /enter?code=…
"""

import json
import ssl
import subprocess
import sys
import time
import urllib.parse
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any, ClassVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from jwts import b64, es256, part

from certs import keys

CLIENT = "writ"


def rs256(key: rsa.RSAPrivateKey, signed: bytes) -> bytes:
    return key.sign(signed, padding.PKCS1v15(), hashes.SHA256())


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def jwk(key: Any, key_id: str, **more: Any) -> dict[str, Any]:
    public = key.public_key().public_numbers()
    if isinstance(key, rsa.RSAPrivateKey):
        return {"kty": "RSA", "kid": key_id, "n": number(public.n), "e": number(public.e), **more}
    x, y = (b64(value.to_bytes(32, "big")) for value in (public.x, public.y))
    return {"kty": "EC", "crv": "P-256", "kid": key_id, "x": x, "y": y, **more}


def signed(head: Any, body: Any, key: Any) -> str:
    text = f"{part(head)}.{part(body)}"
    made = rs256(key, text.encode()) if isinstance(key, rsa.RSAPrivateKey) else es256(key, text.encode())
    return f"{text}.{b64(made)}"


class Issuer:
    """The process, and its keys in the test's hands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.ec, self.rsa = keys.generate_p256(), rsa.generate_private_key(65537, 2048)
        self.ca = directory / "tls.pem"
        _certificate(self.ca)
        (directory / "key.pem").write_bytes(keys.dump_private(self.ec, None))
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        command = [sys.executable, __file__, str(self.directory), str(self.port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        with self._process.stdout as said:
            self.port = int(said.readline())
        self.says()
        self.serves(
            jwk(self.ec, "ec-1", alg="ES256", use="sig"), jwk(self.rsa, "rsa-1", alg="RS256", use="sig")
        )
        self.groups("admins")

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def says(self, **changes: Any) -> None:
        document = {
            "issuer": self.url,
            "jwks_uri": f"{self.url}/jwks.json",
            "device_authorization_endpoint": f"{self.url}/device",
            "token_endpoint": f"{self.url}/token",
            **changes,
        }
        (self.directory / "discovery.json").write_text(json.dumps(document))

    def serves(self, *listed: Any) -> None:
        (self.directory / "jwks.json").write_text(json.dumps({"keys": listed}))

    def groups(self, *names: str) -> None:
        (self.directory / "groups.json").write_text(json.dumps(names))

    def claims(self, **changes: Any) -> dict[str, Any]:
        return claims(self.url, **{"groups": ["admins"], **changes})

    def token(self, key: Any = None, head: dict[str, Any] | None = None, **changes: Any) -> str:
        key = key or self.ec
        known = (
            {"alg": "RS256", "kid": "rsa-1"}
            if isinstance(key, rsa.RSAPrivateKey)
            else {"alg": "ES256", "kid": "ec-1"}
        )
        return signed({**known, **(head or {})}, self.claims(**changes), key)


def claims(issuer: str, groups: Any, **changes: Any) -> dict[str, Any]:
    now = int(time.time())
    whole = {
        "iss": issuer,
        "aud": CLIENT,
        "sub": "anna",
        "iat": now,
        "exp": now + 600,
        "groups": groups,
        **changes,
    }
    return {name: value for name, value in whole.items() if value is not None}


def _certificate(path: Path) -> None:
    """Self-signed, with its key, for localhost."""
    key, now = keys.generate_p256(), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM) + keys.dump_private(key, None))


class Handler(BaseHTTPRequestHandler):
    """GET documents and /enter, POST /device and /token."""

    directory: Path
    entered: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/enter":
            Handler.entered.add(urllib.parse.parse_qs(query)["code"][0])
            return self._answer(200, b"{}")
        if path == "/moved":
            self.send_response(302)
            self.send_header("location", "/jwks.json")
            return self.end_headers()
        name = "discovery.json" if path == "/.well-known/openid-configuration" else path.strip("/")
        file = self.directory / name
        return (
            self._answer(200, file.read_bytes())
            if file.suffix == ".json" and file.exists()
            else self._answer(404, b"{}")
        )

    def do_POST(self) -> None:
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
        if self.path == "/device":
            base = f"https://localhost:{self.server.server_address[1]}"
            answer = {
                "device_code": "d-1",
                "user_code": "WRIT-1234",
                "verification_uri": f"{base}/enter",
                "interval": 0,
                "expires_in": 60,
            }
            return self._answer(200, json.dumps(answer).encode())
        if form["device_code"] != ["d-1"] or "WRIT-1234" not in Handler.entered:
            return self._answer(400, b'{"error": "authorization_pending"}')
        key = keys.load_private((self.directory / "key.pem").read_bytes(), None)
        groups = json.loads((self.directory / "groups.json").read_text())
        base = json.loads((self.directory / "discovery.json").read_text())["issuer"]
        token = signed({"alg": "ES256", "kid": "ec-1", "typ": "JWT"}, claims(base, groups), key)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        return self._answer(200, json.dumps({"id_token": token, "token_type": "Bearer"}).encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


def main(directory: Path, port: int) -> None:
    Handler.directory = directory
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "tls.pem")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
