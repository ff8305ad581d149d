"""A TCP relay that a test can cut: what passes through it stops arriving, while every connection stays open."""

import contextlib
import select
import socket
import threading
from typing import Self


class FaultProxy:
    """Relays to `target` (host:port). `cut()` swallows what is sent, both ways; `heal()` ends what was cut and relays again."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._cut, self._closed = threading.Event(), threading.Event()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._listener.close()
        self._end()

    def cut(self) -> None:
        self._cut.set()

    def heal(self) -> None:
        self._end()
        self._cut.clear()

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
        with near, far, contextlib.suppress(OSError):
            while True:
                readable, _, _ = select.select([near, far], [], [], 1.0)
                for one in readable:
                    data = one.recv(65536)
                    if not data:
                        return
                    if not self._cut.is_set():
                        (far if one is near else near).sendall(data)
