"""Requests as applications make them, through the sidecar with the unmodified `openai` client; and as an attacker would,
past the sidecar, with a certificate.
"""

import base64
import http.client
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai

from controlplane.cli.demo.mesh import Node

REFUSED = "connection refused by the peer"
Claims = Mapping[str, str]
"""`purpose`, `data-class`, `subject-region`: what the application claims of its request."""
CUT = "cut while it was answered"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a caller saw: HTTP status, denial code (empty: allowed), id of its record, and some of the answer."""

    status: int
    code: str
    record: str
    text: str
    ms: float


def headers_of(claims: Claims) -> dict[str, str]:
    return {f"writ-{name}": value for name, value in claims.items()}


def client(node: Node, peer: str, claims: Claims) -> openai.OpenAI:
    """The official client, pointed at this node's sidecar; the peer is chosen by Host."""
    headers = {
        "Host": f"{peer}.mesh",
        **headers_of(claims),
    }
    return openai.OpenAI(
        base_url=f"{node.egress()}/v1", api_key="none", default_headers=headers, max_retries=0, timeout=30
    )


def chat(node: Node, peer: str, claims: Claims, *, model: str = "ngram", stream: bool = False) -> Outcome:
    """One chat request through the sidecar."""
    started = time.perf_counter()
    ask: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "user", "content": "what is a class"}],
        "stream": stream,
    }
    with client(node, peer, claims) as api:
        try:
            raw = api.chat.completions.with_raw_response.create(**ask)
            text = _text(raw, stream=stream)
        except openai.APIStatusError as exc:
            return _denied(exc.response.status_code, exc.response.text, dict(exc.response.headers), started)
    return Outcome(
        status=200, code="", record=raw.headers.get("writ-record-id", ""), text=text, ms=_ms(started)
    )


def _text(raw: Any, *, stream: bool) -> str:
    parsed = raw.parse()
    if not stream:
        return str(parsed.choices[0].message.content)
    return "".join(chunk.choices[0].delta.content or "" for chunk in parsed)


def embed(node: Node, peer: str, claims: Claims, texts: list[str]) -> list[list[float]]:
    with client(node, peer, claims) as api:
        return [one.embedding for one in api.embeddings.create(model="ngram", input=texts).data]


def bypass(identity: Path, peer: Node, claims: Claims, *, model: str = "ngram") -> Outcome:
    """The same chat request, sent straight to the peer's sidecar with the certificate and key of `identity.json`."""
    started = time.perf_counter()
    connection = http.client.HTTPSConnection(
        "127.0.0.1", peer.known_ports["ingress"], context=tls(identity), timeout=10
    )
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": "what is a class"}]})
    headers = {
        "content-type": "application/json",
        **headers_of(claims),
    }
    try:
        connection.request("POST", "/v1/chat/completions", body, headers)
        response = connection.getresponse()
        text, sent = response.read().decode(), dict(response.getheaders())
    except (OSError, http.client.HTTPException) as exc:
        return Outcome(status=0, code=REFUSED, record="", text=str(exc), ms=_ms(started))
    finally:
        connection.close()
    if response.status == http.HTTPStatus.OK:
        return Outcome(
            status=200, code="", record=sent.get("writ-record-id", ""), text=text[:60], ms=_ms(started)
        )
    return _denied(response.status, text, sent, started)


def tls(identity: Path) -> ssl.SSLContext:
    """A client context that shows the certificate in an agent's `identity.json`."""
    document = json.loads(identity.read_text())
    chain = "".join(ssl.DER_cert_to_PEM_cert(base64.b64decode(der)) for der in document["chain"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = (
        False,
        ssl.CERT_NONE,
    )  # the attacker does not care who answers
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(document["key"] + chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@dataclass
class Stream:
    """A streamed chat in the background: how many words came, and when and how it ended."""

    words: int = 0
    ended: threading.Event = field(default_factory=threading.Event)
    flowing: threading.Event = field(default_factory=threading.Event)
    stop: threading.Event = field(default_factory=threading.Event)
    ended_at: float = 0.0
    error: str = ""

    def run(self, node: Node, peer: str, pause_s: float, claims: Claims) -> None:
        try:
            with client(node, peer, claims) as api:
                chunks = api.chat.completions.create(
                    model="ngram",
                    messages=[{"role": "user", "content": "what is a class"}],
                    stream=True,
                    max_tokens=100_000,
                    extra_body={"metadata": {"pause_s": pause_s}},
                )
                for _ in chunks:
                    self.words += 1
                    self.flowing.set()
                    if self.stop.is_set():
                        break
        except Exception as exc:  # noqa: BLE001 - however it ends, it has ended
            self.error = type(exc).__name__
        self.ended_at = time.perf_counter()
        self.ended.set()

    def close(self) -> None:
        """Leave: the next word is the last."""
        self.stop.set()
        self.ended.wait(10)


def start_stream(node: Node, peer: str, claims: Claims, *, pause_s: float = 0.01) -> Stream:
    """Start a stream, and return once words come."""
    stream = Stream()
    threading.Thread(target=stream.run, args=(node, peer, pause_s, claims), daemon=True).start()
    stream.flowing.wait(10)
    return stream


class Idle:
    """A connection of an application that is kept open between requests."""

    def __init__(self, node: Node, peer: str, claims: Claims) -> None:
        port = node.known_ports["egress"]
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._headers = {
            "Host": f"{peer}.mesh",
            **headers_of(claims),
        }

    def ask(self) -> Outcome:
        started = time.perf_counter()
        try:
            self._connection.request("GET", "/v1/models", headers=self._headers)
            response = self._connection.getresponse()
            text, headers = response.read().decode(), dict(response.getheaders())
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()  # the next request opens it again
            return Outcome(status=0, code=CUT, record="", text=str(exc), ms=_ms(started))
        if response.status == http.HTTPStatus.OK:
            return Outcome(
                status=200, code="", record=headers.get("writ-record-id", ""), text="", ms=_ms(started)
            )
        return _denied(response.status, text, headers, started)

    def close(self) -> None:
        self._connection.close()


def _denied(status: int, text: str, headers: dict[str, str], started: float) -> Outcome:
    try:
        code = str(json.loads(text)["error"]["code"])
    except (ValueError, KeyError, TypeError):
        code = f"http {status}"
    return Outcome(
        status=status, code=code, record=headers.get("writ-record-id", ""), text=text[:200], ms=_ms(started)
    )


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
