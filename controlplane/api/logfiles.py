"""A log's files, of nodes and control planes, in a directory of mode 0700. Written whole by write, sync, rename; the directory is synced too.

A sync that failed is never repeated on the same descriptor: what it covered counts as lost, and the log is opened anew.
"""

import contextlib
import errno
import os
from pathlib import Path

from controlplane.api import files

RESERVE, PROBE = "reserve", "probe"
PROBE_BYTES = 4096


class LogFiles:
    """The port of `audit.growing`, for one thread."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._open = ("", -1)  # the journal that is being written

    def read(self, path: str) -> bytes | None:
        try:
            return (self._directory / path).read_bytes()
        except FileNotFoundError:
            return None

    def write(self, path: str, data: bytes) -> None:
        target = self._directory / path
        self._make_parents(target.parent)
        files.write(target, data)

    def append(self, path: str, data: bytes) -> None:
        name, descriptor = self._open
        if name != path:
            self.close()
            descriptor = os.open(self._directory / path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._open = (path, descriptor)
            files.sync_directory(self._directory)
        if os.write(descriptor, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def sync(self, path: str) -> None:
        if self._open[0] == path:
            os.fdatasync(self._open[1])

    def cut(self, path: str, size: int) -> None:
        os.truncate(self._directory / path, size)

    def reserve(self, size: int) -> None:
        """Keep room that nobody else can take, for what must be written when the device is full."""
        if len(self.read(RESERVE) or b"") < size:
            self.write(RESERVE, bytes(size))

    def probe(self) -> None:
        """OSError unless something can be written now, and lasts; what is reserved stays."""
        self.write(PROBE, bytes(PROBE_BYTES))
        (self._directory / PROBE).unlink()

    def release(self) -> None:
        """Give that room back to the device."""
        self.remove(RESERVE)

    def remove(self, path: str) -> None:
        if self._open[0] == path:
            self.close()
        (self._directory / path).unlink(missing_ok=True)

    def close(self) -> None:
        """Safe to call again."""
        name, descriptor = self._open
        if name:
            self._open = ("", -1)
            with contextlib.suppress(OSError):
                os.close(descriptor)

    def _make_parents(self, directory: Path) -> None:
        if not directory.exists():
            self._make_parents(directory.parent)
            directory.mkdir(mode=0o700)
            files.sync_directory(directory.parent)
