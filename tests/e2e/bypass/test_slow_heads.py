"""Who never says what is wanted gets no answer, holds no connection for ever, and keeps nobody waiting.

Handshakes and heads that stop in the middle, or go on without end: a byte at a time, one more header, one more frame.
"""

import contextlib
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from bypass.wire import CHAT, CHATS, PATIENCE_S, connect, egress, http1, lines
from sidecar import CALLEE, CALLER, Running, Sidecar

pytestmark = pytest.mark.timeout(90)
IMPATIENT = {"idle_s": 1, "max_stream_s": 3}
DROP_S = 0.05
PEER = f"Host: {CALLEE}.mesh"
LINE = f"GET {CHATS} HTTP/1.1\r\n".encode()
STOPPED = {
    "nothing": b"",
    "one byte": b"G",
    "half a method": b"PO",
    "half a line": LINE[:-5],
    "a line": LINE,
    "half a name": LINE + b"Ho",
    "half a value": LINE + PEER.encode()[:-3],
    "all but the last byte": LINE + lines(PEER) + b"\r",
}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\x04\0" + bytes(4)  # and empty settings
HEADERS, CONTINUATION, END_STREAM = 1, 9, 1


def frame(kind: int, payload: bytes, flags: int = 0) -> bytes:
    """A frame of stream 1 that does not end its headers."""
    return len(payload).to_bytes(3) + bytes([kind, flags]) + (1).to_bytes(4) + payload


def one_more(number: int) -> bytes:
    """A header as a literal without indexing, under a name of its own."""
    name = b"x-%d" % number
    return b"\0" + bytes([len(name)]) + name + b"\x011"


OPENED = frame(HEADERS, b"\x82\x87\x84\x41\x01x", END_STREAM)  # GET, https, /, authority x
FRAMES = {
    "half a preface": PREFACE[:10],
    "a preface": PREFACE,
    "half a frame": PREFACE + OPENED[:-1],
    "headers that do not end": PREFACE + OPENED,
    "continued, and not ended": PREFACE + OPENED + frame(CONTINUATION, one_more(1)),
}
HANDSHAKES = {"nothing": b"", "one byte": b"\x16", "half a hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc"}
Open = Callable[[Sidecar], socket.socket]


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    with Running(attributes=CALLER, loop=True, settings=IMPATIENT) as running:
        yield running


def application(sidecar: Sidecar) -> socket.socket:
    """At egress, plain."""
    return socket.create_connection(("127.0.0.1", sidecar.egress_port), timeout=PATIENCE_S)


def second(sidecar: Sidecar) -> socket.socket:
    return connect(sidecar, "h2")


def unspoken(sidecar: Sidecar) -> socket.socket:
    """At ingress, before a word of TLS."""
    return socket.create_connection(("127.0.0.1", sidecar.port), timeout=PATIENCE_S)


def until_closed(connection: socket.socket) -> bytes:
    """What came before the other side closed; TimeoutError where it does not."""
    answer = b""
    with contextlib.suppress(ConnectionError, ssl.SSLError, BrokenPipeError):
        while part := connection.recv(65536):
            answer += part
    return answer


def refused(answer: bytes) -> bool:
    """Nothing was said but that it took too long."""
    said = [line for line in answer.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]
    return all(line.startswith(b"HTTP/1.1 408") for line in said)


STOPS: list[tuple[str, Open, bytes]] = [
    *((f"peer: {name}", connect, sent) for name, sent in STOPPED.items()),
    *((f"application: {name}", application, sent) for name, sent in STOPPED.items()),
    *((f"HTTP/2: {name}", second, sent) for name, sent in FRAMES.items()),
    *((f"handshake: {name}", unspoken, sent) for name, sent in HANDSHAKES.items()),
]


def test_what_stops_is_not_waited_for(sidecar: Sidecar, outcomes: Counter[tuple[str, str]]) -> None:
    """All at once: each is given its time."""
    before = len(sidecar.backend.seen)
    opened = [(name, connected(sidecar), sent) for name, connected, sent in STOPS]
    for _, connection, sent in opened:
        connection.sendall(sent)
    for name, connection, _ in opened:
        with connection:
            assert refused(until_closed(connection)), name
        outcomes["slow heads 29", "denied"] += 1
    assert len(sidecar.backend.seen) == before


def dripping(connection: socket.socket, first: bytes, drops: Iterator[bytes]) -> bytes:
    """What comes back while more is sent than anybody wants to hear."""
    connection.sendall(first)
    connection.settimeout(DROP_S)
    answer = b""
    for drop in drops:
        try:
            connection.sendall(drop)
            part = connection.recv(65536)
        except TimeoutError:
            continue
        except (ConnectionError, ssl.SSLError):
            break
        answer += part
        if not part:
            break
    return answer


def letters() -> Iterator[bytes]:
    yield from iter(lambda: b"x", b"")


def headers() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield b"x-%d: 1\r\n" % number


def continuations() -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        yield frame(CONTINUATION, one_more(number))


ENDLESS: dict[str, tuple[Open, bytes, Callable[[], Iterator[bytes]]]] = {
    "a line, a letter at a time": (connect, b"GET /", letters),
    "a value, a letter at a time": (connect, LINE + b"x: ", letters),
    "a name, a letter at a time": (connect, LINE + b"x", letters),
    "one more header": (connect, LINE, headers),
    "a line at egress": (application, b"GET /", letters),
    "one more header at egress": (application, LINE + lines(PEER), headers),
    "one more frame": (second, PREFACE + OPENED, continuations),
    "a frame, a letter at a time": (second, PREFACE + OPENED[:-1], letters),
}


@pytest.mark.slow  # as long as a head may take
def test_a_head_without_end_ends_with_its_time(outcomes: Counter[tuple[str, str]]) -> None:
    """Each drop is a sign of life: what ends it is that a head has its time, however it is spent."""
    with Running(attributes=CALLER, loop=True) as patient, ThreadPoolExecutor(len(ENDLESS)) as pool:

        def told(case: tuple[Open, bytes, Callable[[], Iterator[bytes]]]) -> bytes:
            connected, first, drops = case
            with connected(patient) as connection:
                return dripping(connection, first, drops())

        for name, answer in zip(ENDLESS, pool.map(told, ENDLESS.values()), strict=True):
            assert refused(answer), name
            outcomes["slow heads 29", "denied"] += 1
        assert patient.backend.seen == []


def test_many_slow_heads_keep_nobody_waiting(sidecar: Sidecar, outcomes: Counter[tuple[str, str]]) -> None:
    slow = [connect(sidecar) for _ in range(50)] + [application(sidecar) for _ in range(50)]
    stop = threading.Event()

    def drip() -> None:
        while not stop.wait(DROP_S):
            for connection in slow:
                with contextlib.suppress(OSError):
                    connection.sendall(b"x")

    for connection in slow:
        connection.sendall(LINE + b"x-")
    dripper = threading.Thread(target=drip)
    dripper.start()
    try:
        assert http1(sidecar, CHATS, method="POST", body=CHAT).statuses == (200,)
        asked = LINE.replace(CHATS.encode(), b"/v1/models/ngram") + lines(PEER, "Connection: close") + b"\r\n"
        assert egress(sidecar, asked).statuses == (200,)
    finally:
        stop.set()
        dripper.join()
        for connection in slow:
            connection.close()
    outcomes["slow heads 29", "harmless"] += 1
