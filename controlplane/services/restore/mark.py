"""How far the mesh has gone, as far as this replica knows: the highest generation that it signed or was shown.

In a file beside the keys and not in the store, so that a store that was put back to an older state is behind it. Written and
synced before a generation leaves this process.
"""

import json
import os
from pathlib import Path

from controlplane.errors import CorruptError, RolledBackError, UnavailableError

FILE = "mark.json"
EPOCH_BITS = 40  # of a generation count within an epoch: 34 years at 1,000 commits a second


class Mark:
    """One per replica; without a path it is kept in memory only."""

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self.generation, self.accused = 0, ""
        if path is not None and path.exists():
            self.generation, self.accused = _read(path)

    def check(self, generation: int, reached: int) -> None:
        """RolledBackError when the store is behind, or something else has shown that it is older, and no epoch began since.

        `reached` is the mark as it was before the store was read.
        """
        if self.accused and not self._later_epoch(generation):
            raise RolledBackError(f"the store is older than the mesh: {self.accused}")
        if generation < reached:
            what = f"it is at generation {generation}, the mesh was at {reached}"
            raise RolledBackError(f"the store is older than the mesh: {what}")

    def reach(self, generation: int) -> None:
        """The mesh has gone at least so far."""
        if generation > self.generation:
            self._keep(generation, "" if self._later_epoch(generation) else self.accused)

    def accuse(self, what: str) -> None:
        """Something that we signed is not in the store: it stays refused until an operator opens a new epoch."""
        self._keep(self.generation, what)

    def _later_epoch(self, generation: int) -> bool:
        return generation >> EPOCH_BITS > self.generation >> EPOCH_BITS

    def _keep(self, generation: int, accused: str) -> None:
        if self._path is not None:
            try:
                _write(self._path, {"generation": generation, "accused": accused})
            except OSError as exc:
                hint = "nothing new is signed before it can be written"
                raise UnavailableError(f"cannot write `{self._path}`: {exc.strerror}", hint=hint) from exc
        self.generation, self.accused = generation, accused


def _write(path: Path, document: dict[str, object]) -> None:
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _read(path: Path) -> tuple[int, str]:
    try:
        document = json.loads(path.read_text())
        return int(document["generation"]), str(document["accused"])
    except (ValueError, KeyError, TypeError) as exc:
        raise CorruptError(
            f"`{path}` is malformed", hint="move it away: agents still know how far the mesh has gone"
        ) from exc
