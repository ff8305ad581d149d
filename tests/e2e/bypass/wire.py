"""Requests as bytes: HTTP/1.1 exactly as written, HTTP/2 frame by frame without any check of our own."""

import socket
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from sidecar import Sidecar, tls

PATIENCE_S = 30  # of a machine that is busy
CLAIMS = (("writ-purpose", "treatment"), ("writ-data-class", "1"), ("writ-subject-region", "fr"))
CHATS = "/v1/chat/completions"
CHAT = b'{"model":"ngram"}'
Headers = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True)
class Reply:
    """Statuses of all answers on the connection; none when it was closed without one."""

    statuses: tuple[int, ...]

    @property
    def allowed(self) -> bool:
        return 200 in self.statuses or 101 in self.statuses


def lines(*more: str | bytes, claims: bool = True) -> bytes:
    given = [f"{name}: {value}" for name, value in CLAIMS] if claims else []
    every = [line.encode("latin-1") if isinstance(line, str) else line for line in (*given, *more)]
    return b"".join(line + b"\r\n" for line in every)


def http1(
    sidecar: Sidecar,
    target: str | bytes,
    *more: str | bytes,
    method: str = "GET",
    body: bytes = b"",
    claims: bool = True,
    host: str = "Host: x",
    length: bool = True,
) -> Reply:
    """One request; a Content-Length of the body unless `length` is off."""
    raw = target.encode("latin-1") if isinstance(target, str) else target
    head = method.encode() + b" " + raw + b" HTTP/1.1\r\n"
    extra = [f"Content-Length: {len(body)}"] if body and length else []
    return send(
        sidecar, head + lines(host, *extra, *more, "Connection: close", claims=claims) + b"\r\n" + body
    )


def send(sidecar: Sidecar, data: bytes) -> Reply:
    with connect(sidecar) as connection:
        return exchange(connection, data)


def exchange(connection: socket.socket, data: bytes) -> Reply:
    """Send, and read until the other side closes: refused connections answer nothing."""
    answer = b""
    try:
        connection.sendall(data)
        while part := connection.recv(65536):
            answer += part
            if b"HTTP/1.1 101" in answer:
                break
    except (OSError, ssl.SSLError):
        pass
    found = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return Reply(tuple(int(line[9:12]) for line in found))


def connect(sidecar: Sidecar, alpn: str = "http/1.1", name: str | None = None) -> ssl.SSLSocket:
    context = tls(sidecar.caller)
    context.set_alpn_protocols([alpn])
    raw = socket.create_connection(("127.0.0.1", sidecar.port), timeout=PATIENCE_S)
    return context.wrap_socket(raw, server_hostname=name)


def egress(sidecar: Sidecar, data: bytes) -> Reply:
    """Plain, as the local application sends it."""
    with socket.create_connection(("127.0.0.1", sidecar.egress_port), timeout=PATIENCE_S) as connection:
        return exchange(connection, data)


def http2(sidecar: Sidecar, *streams: "Stream", name: str | None = None) -> Reply:
    """Streams on one connection; statuses in the order of the streams that were answered."""
    with connect(sidecar, "h2", name) as connection:
        machine = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        machine.initiate_connection()
        for number, stream in enumerate(streams):
            stream.write(machine, 2 * number + 1)
        connection.sendall(machine.data_to_send())
        return Reply(tuple(_statuses(connection, machine, len(streams))))


@dataclass(frozen=True)
class Stream:
    """Pseudo headers and headers as they are, data, trailers."""

    headers: Headers
    body: bytes = b""
    trailers: Headers = ()
    pieces: int = 1

    def write(self, machine: h2.connection.H2Connection, number: int) -> None:
        more = bool(self.body or self.trailers)
        machine.send_headers(number, list(self.headers), end_stream=not more)
        size = -(-len(self.body) // self.pieces) or 1
        for at in range(0, len(self.body), size):
            machine.send_data(number, self.body[at : at + size])
        if self.trailers:
            machine.send_headers(number, list(self.trailers), end_stream=True)
        elif more:
            machine.end_stream(number)


def stream(
    path: bytes, *more: tuple[bytes, bytes], method: bytes = b"POST", body: bytes = CHAT, **rest: object
) -> Stream:
    pseudo = [(b":method", method), (b":scheme", b"https"), (b":authority", b"x"), (b":path", path)]
    given = [(name.encode(), value.encode()) for name, value in CLAIMS]
    return Stream([*pseudo, *given, *more], body, **rest)  # type: ignore[arg-type]


def _statuses(connection: ssl.SSLSocket, machine: h2.connection.H2Connection, wanted: int) -> list[int]:
    found: list[int] = []
    ended = 0
    while ended < wanted:
        try:
            data = connection.recv(65536)
            events = machine.receive_data(data) if data else []
        except (OSError, h2.exceptions.ProtocolError):
            return found
        if not data:
            return found
        for event in events:
            if isinstance(event, h2.events.ResponseReceived):
                found.append(int(dict(event.headers)[b":status"]))
            if isinstance(
                event, h2.events.StreamEnded | h2.events.StreamReset | h2.events.ConnectionTerminated
            ):
                ended += 1
        connection.sendall(machine.data_to_send())
    return found


# --- what will be sent, once there is a sidecar -------------------------------------------------------------

Send = Callable[[Sidecar], Reply]


def get(target: str | bytes, *headers: str | bytes, method: str = "GET") -> Send:
    return lambda s: http1(s, target, *headers, method=method)


def post(body: bytes, *headers: str | bytes, target: str = CHATS, length: bool = True) -> Send:
    return lambda s: http1(s, target, *headers, method="POST", body=body, length=length)


def frames(*streams: Stream) -> Send:
    return lambda s: http2(s, *streams)


def raw(data: bytes) -> Send:
    return lambda s: send(s, data)
