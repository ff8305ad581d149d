"""A TCP relay that a test can hurt: what passes through it is swallowed, one way or both, is late, or has ended one way only,
while every connection stays open.
"""

import contextlib
import queue
import socket
import threading
import time
from typing import Self

UP, DOWN = "up", "down"
"""From who connected to the target, and back."""


class FaultProxy:
    """Relays to `target` (host:port). `heal()` ends every connection that was hurt, and relays again."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._swallowed: frozenset[str] = frozenset()
        self._late_s, self._closed = 0.0, threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._listener.close()
        self._end()

    def cut(self, *ways: str) -> None:
        """Swallow what is sent these ways; both, if none is named."""
        self._swallowed = frozenset(ways or (UP, DOWN))

    def delay(self, late_s: float) -> None:
        """Deliver everything that much later, both ways."""
        self._late_s = late_s

    def half_close(self) -> None:
        """The target is told that nothing more comes, and goes on to be heard."""
        for _, far in self._pairs:
            with contextlib.suppress(OSError):
                far.shutdown(socket.SHUT_WR)

    def heal(self) -> None:
        self._end()
        self._swallowed, self._late_s = frozenset(), 0.0

    def _end(self) -> None:
        for one in (side for pair in self._pairs for side in pair):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        self._pairs = []

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target)
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            threading.Thread(target=self._relay, args=(near, far), daemon=True).start()

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        ways = ((UP, near, far), (DOWN, far, near))
        with near, far:
            running = [threading.Thread(target=self._carry, args=way, daemon=True) for way in ways]
            for one in running:
                one.start()
            for one in running:
                one.join()

    def _carry(self, way: str, source: socket.socket, sink: socket.socket) -> None:
        """One way of one connection. What is read waits its time in a queue, so that lateness does not add up."""
        due: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        sending = threading.Thread(target=_send, args=(due, sink), daemon=True)
        sending.start()
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if way not in self._swallowed:
                    due.put((time.monotonic() + self._late_s, data))
        due.put((0.0, b""))
        sending.join()


def _send(due: "queue.SimpleQueue[tuple[float, bytes]]", sink: socket.socket) -> None:
    """Until the empty end: then whoever listens there is told, and so is who sends from there."""
    with contextlib.suppress(OSError):
        while True:
            at, data = due.get()
            if not data:
                break
            time.sleep(max(0.0, at - time.monotonic()))
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)
