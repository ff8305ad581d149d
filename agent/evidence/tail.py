"""Follow Envoy's access log. Whole lines only; the file is looked at every few milliseconds.

A poll, not inotify: under load every look finds data, so there is nothing to be woken for; idle it costs a read of nothing.
A pause after every look makes groups of lines: each group costs one sync of the log.
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from agent.evidence.lines import Line, decode

POLL_S = 0.01
CHUNK = 1 << 20
MAX_LINE = 64 << 10


class Tail:
    """Reads one file from its start. `bad` counts lines that could not be read: they are lost records."""

    def __init__(self, path: Path) -> None:
        self._path, self._rest, self._offset = path, b"", 0
        self.bad = 0

    async def batches(self) -> AsyncIterator[list[Line]]:
        """Lines as they come, many at once when there are many."""
        while True:
            lines = self.read()
            if lines:
                yield lines
            await asyncio.sleep(POLL_S)

    def read(self) -> list[Line]:
        """What has come since the last call."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._offset:  # somebody cut it: what was there is lost, and counted
                    self._offset, self._rest, self.bad = 0, b"", self.bad + 1
                file.seek(self._offset)
                data = file.read(CHUNK)
        except FileNotFoundError:
            return []
        self._offset += len(data)
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            self._rest, self.bad = b"", self.bad + 1
        return [line for line in map(self._parse, whole) if line is not None]

    def _parse(self, text: bytes) -> Line | None:
        try:
            return decode(text)
        except ValueError:  # also what msgspec raises
            self.bad += 1
            return None
