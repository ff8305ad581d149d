"""This node's log on disk: a growing log (`audit.growing`) in a directory, whose failures say what to do.

An append has reached the kernel when it returns, and survives the agent; a checkpoint has reached the device, and survives
the machine: what Envoy last wrote would not either. A sync that failed is never retried: what it covered counts as lost.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from agent.evidence.errors import RollbackError, WriteError
from audit import note
from audit.growing import GrowingLog, ShorterError
from controlplane.api.logfiles import LogFiles

RESTORE = "restore the evidence directory; a shorter log must not go on under the same name"
T = TypeVar("T")


class NodeLog:
    """One writer. `size` counts entries."""

    def __init__(self, directory: Path, key: note.VerifierKey, sign: note.Sign) -> None:
        self._files, self._dead = LogFiles(directory), False
        try:
            self._log = GrowingLog(self._files, key, sign)
        except ShorterError as exc:
            raise RollbackError(str(exc), hint=RESTORE) from exc

    @property
    def size(self) -> int:
        return self._log.size

    def append(self, entries: Sequence[bytes]) -> None:
        """Write entries. WriteError: none of them counts, and this log must be opened anew."""
        self._do("evidence", lambda: self._log.append(entries))

    def checkpoint(self) -> tuple[note.Checkpoint, str]:
        """Sync, write partial tiles, then sign and keep the tree head: a signature never covers what is not there."""
        return self._do("checkpoint", self._log.checkpoint)

    def keep_cosigned(self, text: str) -> None:
        """Keep a cosigned checkpoint: beside newer ones, it is what speaks against a rewritten past."""
        try:
            self._log.keep_cosigned(text)
        except OSError as exc:
            raise WriteError(f"checkpoint cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Safe to call again."""
        self._files.close()

    def consistency(self, old: int, new: int) -> list[bytes]:
        return self._log.consistency(old, new)

    def entries(self) -> list[bytes]:
        """Entries of the last bundle and of the pending ones: enough to know where a run stood."""
        return self._log.recent()

    def _do(self, what: str, work: Callable[[], T]) -> T:
        if self._dead:  # behind torn bytes nothing could be read back
            raise WriteError("evidence could not be written before")
        try:
            return work()
        except OSError as exc:
            self._dead = True
            raise WriteError(f"{what} cannot be written: {exc.strerror}") from exc
