"""An OpenAI-compatible server over the small language model: chat, completions, embeddings, models.

Run as `python -I -m controlplane.cli.demo.server --port-file FILE`. It listens on loopback only and knows
nothing of Writ: the sidecar beside it decides who reaches it. `GET /seen` (not in OpenAI's API, never permitted by a
policy) tells how many requests reached it, so that a test can see that a denied one did not.
"""

import argparse
import json
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from controlplane.cli.demo.language import Trigrams, Vectors, train

MODELS = ("ngram", "ngram-private")
MAX_BODY_BYTES = 4 << 20
DEFAULT_WORDS, MAX_WORDS = 40, 100_000


class Handler(BaseHTTPRequestHandler):
    """One connection; HTTP/1.1 with keep-alive. Attributes below are set once by `serve`."""

    protocol_version = "HTTP/1.1"
    trigrams: Trigrams
    vectors: Vectors
    seen = 0

    def do_GET(self) -> None:
        if self.path == "/seen":
            self._json(200, {"requests": Handler.seen})
            return
        Handler.seen += 1
        if self.path == "/v1/models":
            self._json(200, {"object": "list", "data": [_model(name) for name in MODELS]})
        elif self.path.removeprefix("/v1/models/") in MODELS:
            self._json(200, _model(self.path.removeprefix("/v1/models/")))
        else:
            self._json(404, {"error": {"message": "not found", "type": "invalid_request_error"}})

    def do_POST(self) -> None:
        Handler.seen += 1
        try:
            length = min(int(self.headers.get("content-length", "0")), MAX_BODY_BYTES)
            body = json.loads(
                self._chunked()
                if "chunked" in self.headers.get("transfer-encoding", "")
                else self.rfile.read(length)
            )
        except ValueError:
            self._json(400, {"error": {"message": "body is not JSON", "type": "invalid_request_error"}})
            return
        if body.get("model") not in MODELS:
            self._json(404, {"error": {"message": "no such model", "type": "invalid_request_error"}})
        elif self.path == "/v1/embeddings":
            self._embed(body)
        elif self.path == "/v1/chat/completions":
            self._chat(body)
        else:
            self._json(404, {"error": {"message": "not found", "type": "invalid_request_error"}})

    def _embed(self, body: dict[str, Any]) -> None:
        texts = body["input"] if isinstance(body.get("input"), list) else [str(body.get("input", ""))]
        data = [
            {"object": "embedding", "index": i, "embedding": self.vectors.embed(str(text))}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": len(texts), "total_tokens": len(texts)}
        self._json(200, {"object": "list", "model": body["model"], "data": data, "usage": usage})

    def _chat(self, body: dict[str, Any]) -> None:
        prompt = " ".join(str(message.get("content", "")) for message in body.get("messages", []))
        limit = min(
            int(body.get("max_completion_tokens") or body.get("max_tokens") or DEFAULT_WORDS), MAX_WORDS
        )
        sample = self.trigrams.sample(prompt, limit=limit, seed=int(body.get("seed") or 0))
        if body.get("stream"):
            self._stream(body["model"], sample, pause_s=float(body.get("metadata", {}).get("pause_s", 0.0)))
        else:
            self._json(200, _completion(body["model"], " ".join(sample)))

    def _stream(self, model: str, sample: Iterator[str], *, pause_s: float) -> None:
        """Server-sent events, one word each; `pause_s` stands for a slower model."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for word in sample:
                self._event(json.dumps(_chunk(model, word)))
                time.sleep(pause_s)
            self._event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _event(self, data: str) -> None:
        payload = f"data: {data}\n\n".encode()
        self.wfile.write(b"%x\r\n%s\r\n" % (len(payload), payload))
        self.wfile.flush()

    def _chunked(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(16), 16):
            body += self.rfile.read(size)
            self.rfile.readline(2)
            if len(body) > MAX_BODY_BYTES:
                raise ValueError("body too large")
        self.rfile.readline(2)
        return body

    def _json(self, status: int, document: dict[str, Any]) -> None:
        payload = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: what is asked is nobody's business."""


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "demo"}


def _completion(model: str, text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    usage = {"prompt_tokens": 0, "completion_tokens": len(text.split()), "total_tokens": len(text.split())}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [choice],
        "usage": usage,
    }


def _chunk(model: str, word: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": word + " "}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": [choice]}


def serve(port_file: Path, port: int) -> None:
    """Train, listen, write the port, serve until killed."""
    Handler.trigrams, Handler.vectors = train()
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    temporary = port_file.with_suffix(".new")
    temporary.write_text(str(server.server_port))
    temporary.replace(port_file)
    server.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description="OpenAI-compatible demo server on loopback")
    parser.add_argument("--port-file", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    arguments = parser.parse_args()
    serve(arguments.port_file, arguments.port)


if __name__ == "__main__":
    main()
