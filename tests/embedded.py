"""A control plane inside this process: its own main, real SQLite, real gRPC over real mTLS. What a test changes of its code
counts at once.
"""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from controlplane import config, main
from controlplane.cli.demo.mesh import Mesh, Process


class Embedded(Process):
    """Started and killed like a process. Signal handlers belong to a main thread: here they are called by `kill`."""

    def start(self) -> None:
        self.ports_file.unlink(missing_ok=True)
        self._loop = asyncio.new_event_loop()
        self._handlers: dict[int, Callable[..., Any]] = {}
        self._loop.add_signal_handler = self._handlers.__setitem__  # type: ignore[assignment]
        settings = config.load(Path(self.command[-1]))
        self._thread = threading.Thread(target=self._run, args=(settings,), daemon=True)
        self._thread.start()

    def _run(self, settings: config.Config) -> None:
        asyncio.set_event_loop(self._loop)
        with contextlib.suppress(asyncio.CancelledError):
            self._loop.run_until_complete(main.run(settings))
        self._loop.close()

    def kill(self, number: int = signal.SIGTERM) -> None:
        del number
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._handlers[signal.SIGTERM])
        self._thread.join(20)


def control_plane(directory: Path) -> Mesh:
    """A mesh of nothing but this control plane, with one site."""
    mesh = Mesh(directory, lease_s=60, heartbeat_s=1.0)
    mesh.init()
    mesh.control_plane = Embedded(**vars(mesh.control_plane))
    mesh.start_control_plane()
    mesh.site("paris", "FR")
    return mesh
