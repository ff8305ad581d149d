"""As much of HTTP/2 (RFC 9113) as a gRPC client of a benchmark needs: so that thousands of agents cost less than what they measure.

One TLS connection each, several calls on it. Windows are opened once, wide enough for a run, unless the agent is to be slow.
"""

import asyncio
import struct
from collections.abc import Callable

from hpack import Decoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
ACK, END_STREAM, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
INITIAL_WINDOW, MAX_FRAME = 4, 5  # settings
WIDE = 1 << 28
Message = Callable[[int, bytes], None]
"""Stream and message, without the prefix that gRPC puts before it."""
Ended = Callable[[int, str, dict[str, str]], None]
"""Stream, `grpc-status` (empty: the connection went), and all that the server said last."""


class Connection(asyncio.Protocol):
    """Calls on one connection; what arrives is handed on in order."""

    def __init__(self, authority: str, message: Message, ended: Ended) -> None:
        self._authority, self._message, self._ended = authority, message, ended
        self._in = bytearray()
        self._bodies: dict[int, bytearray] = {}
        self._next = 1
        self._headers: bytearray | None = None
        self._decoder = Decoder()
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        wide = struct.pack(">HIHI", INITIAL_WINDOW, WIDE, MAX_FRAME, 1 << 20)
        self._write(
            PREFACE + _frame(SETTINGS, 0, 0, wide) + _frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", WIDE))
        )

    def connection_lost(self, _: Exception | None) -> None:
        self.transport = None
        for stream in list(self._bodies):
            self._end(stream, "", {})

    @property
    def closed(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def call(self, path: str, first: bytes, *, last: bool) -> int:
        """Begin a call with its first message; the stream's number. ConnectionError when the server has left."""
        if self.closed:
            raise ConnectionError("closed")
        stream, self._next = self._next, self._next + 2
        self._bodies[stream] = bytearray()
        self._write(_frame(HEADERS, END_HEADERS, stream, _request(path, self._authority)))
        self.send(stream, first, last=last)
        return stream

    def send(self, stream: int, message: bytes, *, last: bool = False) -> None:
        body = b"\0" + struct.pack(">I", len(message)) + message
        self._write(_frame(DATA, END_STREAM if last else 0, stream, body))

    def stop_taking(self) -> None:
        """From now on the server may send nothing more on any stream."""
        self._write(_frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW, 0)))

    def _write(self, data: bytes) -> None:
        if self.transport is not None and not self.closed:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        self._in += data
        while len(self._in) >= 9:
            length = int.from_bytes(self._in[:3], "big")
            if len(self._in) < 9 + length:
                return
            kind, flags, stream = struct.unpack(">BBI", self._in[3:9])
            body = bytes(self._in[9 : 9 + length])
            del self._in[: 9 + length]
            self._frame_received(kind, flags, stream & 0x7FFFFFFF, body)

    def _frame_received(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind in {DATA, HEADERS} and flags & PADDED:
            body = body[1 : len(body) - body[0]]
        if kind == DATA:
            self._data(stream, body)
        elif kind in {HEADERS, CONTINUATION}:
            body = body[5:] if kind == HEADERS and flags & PRIORITY else body
            self._headers = (self._headers or bytearray()) + body
            if flags & END_HEADERS:
                headers, self._headers = dict(self._decoder.decode(bytes(self._headers))), None
                if "grpc-status" in headers:
                    self._end(stream, headers["grpc-status"], headers)
        elif kind == RESET:
            self._end(stream, f"reset {int.from_bytes(body, 'big')}", {})
        elif kind in {SETTINGS, PING} and not flags & ACK:
            self._write(_frame(kind, ACK, 0, body if kind == PING else b""))
        elif kind == GOAWAY and not self._bodies and self.transport is not None:
            self.transport.close()

    def _data(self, stream: int, body: bytes) -> None:
        held = self._bodies.get(stream)
        if held is None:
            return
        held += body
        while len(held) >= 5:
            length = int.from_bytes(held[1:5], "big")
            if len(held) < 5 + length:
                return
            message = bytes(held[5 : 5 + length])
            del held[: 5 + length]
            self._message(stream, message)

    def _end(self, stream: int, status: str, headers: dict[str, str]) -> None:
        if self._bodies.pop(stream, None) is not None:
            self._ended(stream, status, headers)


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


def _request(path: str, authority: str) -> bytes:
    """Header block without a dynamic table: indexed `POST` and `https`, the rest literal (RFC 7541)."""
    named = [
        (b"\x04", path),
        (b"\x01", authority),
        (b"\x0f\x10", "application/grpc"),
        (b"\x00\x02te", "trailers"),
    ]
    return b"\x83\x87" + b"".join(name + bytes([len(value)]) + value.encode() for name, value in named)
