"""Follow Envoy's access log. Whole lines only; the size of the file is looked at every few milliseconds.

A poll, not inotify: under load every look finds data, so there is nothing to be woken for; idle it costs a stat.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

POLL_S = 0.01
CHUNK = 1 << 20
MAX_LINE = 64 << 10
Line = dict[str, Any]


class Tail:
    """Reads one file from its start. `bad` counts lines that were no JSON objects: they are lost records."""

    def __init__(self, path: Path) -> None:
        self._path, self._rest, self._offset = path, b"", 0
        self.bad = 0

    async def batches(self) -> AsyncIterator[list[Line]]:
        """Lines as they come, many at once when there are many."""
        while True:
            lines = self.read()
            if lines:
                yield lines
            else:
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
            line = json.loads(text)
        except ValueError:
            line = None
        if isinstance(line, dict):
            return line
        self.bad += 1
        return None
