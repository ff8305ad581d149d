"""What of a Kubernetes API server signs and reviews service-account tokens: a real HTTPS server in a process of its own.

Discovery, key set and TokenReview have the paths, shapes and status codes of Kubernetes 1.30. What it does next is in the
files of its directory, which it reads at each request: `keys/` (what it publishes), `gone` (pods that were deleted), `mood`
(how it misbehaves). Tokens are minted by the test, with the same keys.
"""

import base64
import contextlib
import hashlib
import http.server
import json
import secrets
import signal
import ssl
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jwt
from ca import Ca
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

AUDIENCE = "writ"
POD = {"namespace": "models", "account": "llama", "pod": "llama-1", "machine": "berlin-1"}


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_id(key: Any) -> str:
    """As the API server names its keys."""
    spki = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return b64url(hashlib.sha256(spki).digest())


class ApiServer:
    """The process, and whoever runs its cluster."""

    def __init__(self, directory: Path, *, issuer: str = "") -> None:
        self.directory = directory
        (directory / "keys").mkdir(parents=True)
        self.authority = Ca("cluster")
        self.ca_file, self.client_token = directory / "ca.crt", directory / "client-token"
        self.ca_file.write_bytes(self.authority.pem)
        self.client_token.write_text(secrets.token_hex(16))
        self.authority.server(directory)
        self.key = self.add_key()
        self._process: subprocess.Popen[str] | None = None
        self.start()
        self.issuer = issuer or self.url
        (directory / "issuer").write_text(self.issuer)

    def start(self, port: int = 0) -> None:
        command = [sys.executable, __file__, str(self.directory), str(port)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def add_key(self, key: Any = None) -> Any:
        key = key or rsa.generate_private_key(65537, 2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (self.directory / "keys" / key_id(key)).write_bytes(pem)
        return key

    def remove_key(self, key: Any) -> None:
        (self.directory / "keys" / key_id(key)).unlink()

    def mood(self, word: str) -> None:
        (self.directory / "mood").write_text(word)

    def delete_pod(self, uid: str) -> None:
        with (self.directory / "gone").open("a") as file:
            file.write(uid + "\n")

    @property
    def asked(self) -> list[str]:
        """Requests so far, `METHOD path`."""
        log = self.directory / "log"
        return log.read_text().splitlines() if log.exists() else []

    def claims(self, now: int | None = None, **changes: Any) -> dict[str, Any]:
        """Of a projected token of `POD`, or of one that differs by namespace, account, pod or machine."""
        who = {**POD, **{name: changes.pop(name) for name in list(changes) if name in POD}}
        now = int(time.time()) if now is None else now
        made: dict[str, Any] = {
            "aud": [AUDIENCE],
            "exp": now + 600,
            "iat": now,
            "iss": self.issuer,
            "jti": secrets.token_hex(16),
            "kubernetes.io": {
                "namespace": who["namespace"],
                "node": {"name": who["machine"], "uid": f"uid-{who['machine']}"},
                "pod": {"name": who["pod"], "uid": f"uid-{who['pod']}"},
                "serviceaccount": {"name": who["account"], "uid": f"uid-{who['account']}"},
            },
            "nbf": now,
            "sub": f"system:serviceaccount:{who['namespace']}:{who['account']}",
        }
        return {**made, **changes}

    def token(self, now: int | None = None, *, key: Any = None, **changes: Any) -> str:
        key = key or self.key
        algorithm = "ES256" if isinstance(key, ec.EllipticCurvePrivateKey) else "RS256"
        claims = {name: value for name, value in self.claims(now, **changes).items() if value is not None}
        return jwt.encode(claims, key, algorithm, headers={"kid": key_id(key), "typ": None})


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers like an API server that knows one client."""

    directory: Path
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
        with (self.directory / "log").open("a") as file:
            file.write(f"{self.command} {self.path}\n")

    def do_GET(self) -> None:
        mood = self._mood()
        if not self._known():
            self._fail(401, "Unauthorized")
        elif mood == "redirect":
            self.send_response(302)
            self.send_header("location", f"https://localhost:{self.server.server_address[1]}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()
        elif mood == "drip":
            self._drip()
        elif mood == "huge":
            self._answer(200, b" " * (1 << 20))
        elif self.path == "/.well-known/openid-configuration":
            self._answer(200, self._discovery(mood))
        elif self.path == "/openid/v1/jwks":
            self._answer(200, b"{" if mood == "broken" else self._jwks(), "application/jwk-set+json")
        else:
            self._fail(404, "NotFound")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self._known():
            self._fail(401, "Unauthorized")
        elif self.path != "/apis/authentication.k8s.io/v1/tokenreviews" or self._mood() == "no review":
            self._fail(500, "InternalError")
        else:
            said = self._review(body["spec"])
            match self._mood():
                case "no audiences":
                    del said["audiences"]
                case "null":
                    said["audiences"] = None
                case "another user":
                    said["user"]["username"] = "system:admin"
                case "another pod":
                    said["user"]["extra"]["authentication.kubernetes.io/pod-uid"] = ["uid-other"]
            self._answer(201, json.dumps({**body, "status": said}).encode())

    def _drip(self) -> None:
        """A byte now and then, until the other side has had enough."""
        self.send_response(200)
        self.send_header("content-length", "1000")
        self.end_headers()
        with contextlib.suppress(OSError):
            for _ in range(1000):
                self.wfile.write(b" ")
                time.sleep(0.05)

    def _mood(self) -> str:
        path = self.directory / "mood"
        return path.read_text() if path.exists() else ""

    def _known(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {(self.directory / 'client-token').read_text()}"

    def _discovery(self, mood: str) -> bytes:
        issuer = (self.directory / "issuer").read_text()
        keys = "https://10.0.0.1:6443/openid/v1/jwks"  # the address an API server has for itself
        if mood == "plain keys":
            keys = keys.replace("https", "http")
        document = {
            "issuer": "https://elsewhere.example" if mood == "another issuer" else issuer,
            "jwks_uri": keys,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
        return json.dumps(document).encode()

    def _keys(self) -> list[Any]:
        files = sorted((self.directory / "keys").iterdir())
        return [serialization.load_pem_private_key(file.read_bytes(), None) for file in files]

    def _jwks(self) -> bytes:
        found = []
        for key in self._keys():
            kind = (
                jwt.algorithms.RSAAlgorithm
                if isinstance(key, rsa.RSAPrivateKey)
                else jwt.algorithms.ECAlgorithm
            )
            one = json.loads(kind.to_jwk(key.public_key()))
            one.pop("key_ops", None)
            found.append(
                {**one, "use": "sig", "kid": key_id(key), "alg": "RS256" if one["kty"] == "RSA" else "ES256"}
            )
        return json.dumps({"keys": found}).encode()

    def _review(self, spec: dict[str, Any]) -> dict[str, Any]:
        gone = self.directory / "gone"
        for key in self._keys():
            algorithm = "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256"
            try:
                said = jwt.decode(spec["token"], key.public_key(), [algorithm], audience=spec["audiences"])
            except jwt.PyJWTError:
                continue
            about = said["kubernetes.io"]
            if gone.exists() and about["pod"]["uid"] in gone.read_text().split():
                break
            prefix = "authentication.kubernetes.io"
            extra = {
                f"{prefix}/credential-id": [f"JTI={said['jti']}"],
                f"{prefix}/node-name": [about["node"]["name"]],
                f"{prefix}/node-uid": [about["node"]["uid"]],
                f"{prefix}/pod-name": [about["pod"]["name"]],
                f"{prefix}/pod-uid": [about["pod"]["uid"]],
            }
            namespace = about["namespace"]
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
            user = {
                "username": said["sub"],
                "uid": about["serviceaccount"]["uid"],
                "groups": groups,
                "extra": extra,
            }
            audiences = [one for one in spec["audiences"] if one in said["aud"]]
            return {"authenticated": True, "user": user, "audiences": audiences}
        return {"user": {}, "error": "[invalid bearer token, Token has been invalidated]"}

    def _answer(self, code: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(code)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, code: int, reason: str) -> None:
        status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
        self._answer(code, json.dumps({**status, "message": reason, "reason": reason, "code": code}).encode())


def main(directory: Path, port: int) -> None:
    Handler.directory = directory
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "server.crt", directory / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    print(server.server_address[1], flush=True)  # noqa: T201 - whoever started us reads it
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
