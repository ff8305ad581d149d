"""A plain HTTP/1.1 relay between a real client and the sidecar's egress port, that keeps what the client sent."""

import http.client
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self

from captured import Captured
from sidecar import CALLEE

OURS = {"host", "connection", "content-length", "transfer-encoding"}
VOLATILE = {"x-stainless-runtime-version", "x-stainless-os", "x-stainless-arch", "x-stainless-runtime"}


class Recorder(ThreadingHTTPServer):
    """Start with `with`; point the client at `url`."""

    daemon_threads = True

    def __init__(self, egress: int) -> None:
        super().__init__(("127.0.0.1", 0), _Relay)
        self.egress = egress
        self.requests: list[Captured] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Relay(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Recorder

    def do_POST(self) -> None:
        body = self._body()
        headers = [(name, value) for name, value in self.headers.items() if name.lower() not in OURS]
        kept = tuple(header for header in headers if header[0].lower() not in VOLATILE)
        self.server.requests.append(Captured(self.command, self.path, kept, body))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.egress, timeout=20)
        upstream.request(self.command, self.path, body, dict([*headers, ("Host", f"{CALLEE}.mesh")]))
        self._answer(upstream.getresponse())
        upstream.close()

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", "0")))
        parts = []
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, response: http.client.HTTPResponse) -> None:
        """As it comes: an event stream may stay open."""
        self.send_response(response.status)
        for name, value in response.getheaders():
            if name.lower() not in OURS:
                self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        self.close_connection = True
        while part := response.read1(65536):
            self.wfile.write(part)

    do_GET = do_PUT = do_DELETE = do_HEAD = do_POST

    def log_message(self, *_: object) -> None:
        pass
