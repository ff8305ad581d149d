"""Follow Envoy's access log. Whole lines only; the file is looked at fifty times a second, as often as Envoy writes it.

A poll, not inotify: under load every look finds data, so there is nothing to be woken for; idle it costs a read of nothing.
A pause after every look makes groups of lines: each group costs one write of the log.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

POLL_S = 0.02
CHUNK = 1 << 20
MAX_LINE = 64 << 10


class Tail:
    """Reads one file from its start. `bad` counts what was lost of it: a file that was cut, a line without end."""

    def __init__(self, path: Path) -> None:
        self._path, self._rest, self._offset = path, b"", 0
        self._file = -1
        self.bad = 0

    async def batches(self) -> AsyncIterator[list[bytes]]:
        """Lines as they come, many at once when there are many."""
        while True:
            lines = self.read()
            if lines:
                yield lines
            await asyncio.sleep(POLL_S)

    def read(self) -> list[bytes]:
        """What has come since the last call."""
        if self._file < 0 and not self._open():
            return []
        if (
            os.fstat(self._file).st_size < self._offset
        ):  # somebody cut it: what was there is lost, and counted
            self._offset, self._rest, self.bad = 0, b"", self.bad + 1
        data = os.pread(self._file, CHUNK, self._offset)
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest, self.bad = b"", self.bad + 1
        return whole

    def _open(self) -> bool:
        try:
            self._file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Safe to call again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
