"""This node's log on disk: c2sp.org/tlog-tiles files, a journal for what fills no bundle yet, a signed checkpoint.

An append has reached the kernel when it returns, and survives the agent; a checkpoint has reached the device, and survives
the machine: what Envoy last wrote would not either. Tiles and bundles are written when full, partial ones at a checkpoint;
each by write, sync, rename. After a crash the journal's torn tail is cut; a log that is shorter than its own checkpoint
refuses to open. A sync that failed is never retried: what it covered counts as lost.
"""

import contextlib
import errno
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from agent.evidence.errors import RollbackError, WriteError
from audit import merkle, note, tiles
from audit.errors import AuditError

JOURNAL = "journal"
CHECKPOINT = "checkpoint"
RESTORE = "restore the evidence directory; a shorter log must not go on under the same name"


class NodeLog:
    """One writer. `size` counts entries."""

    def __init__(self, directory: Path, key: note.VerifierKey, sign: note.Sign) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory, self._key, self._sign = directory, key, sign
        self._journal = -1
        self._levels: list[list[bytes]] = [[]]  # per tile level: the hashes of its last, partial tile
        self._pending: list[bytes] = []  # entries that fill no bundle yet
        self._partial: set[str] = set()  # files of the newest checkpoint that the next one replaces
        self._dead = False
        self.size = 0
        self._recover()
        self._journal = self._open_journal()

    # --- writing -----------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[bytes]) -> None:
        """Write entries. WriteError: none of them counts, and this log must be opened anew."""
        if self._dead:  # behind torn bytes nothing could be read back
            raise WriteError("evidence could not be written before")
        while entries:
            room = tiles.WIDTH - len(self._pending)
            self._append_here(entries[:room])
            entries = entries[room:]

    def _append_here(self, entries: Sequence[bytes]) -> None:
        """Append what fits into the bundle that is being filled; its journal holds nothing else."""
        data = tiles.bundle(entries)
        try:
            if os.write(self._journal, data) != len(data):
                raise OSError(errno.ENOSPC, "short write")
            self._add(entries, write=True)
            if not self._pending:
                self._next_journal()
        except OSError as exc:
            self._dead = True
            raise WriteError(f"evidence cannot be written: {exc.strerror}") from exc

    def _open_journal(self) -> int:
        return os.open(self._directory / self._journal_name(), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def _journal_name(self) -> str:
        return f"{JOURNAL}.{self.size // tiles.WIDTH}"

    def _next_journal(self) -> None:
        """The bundle is full and on disk: its journal has done its work."""
        os.close(self._journal)
        (self._directory / f"{JOURNAL}.{self.size // tiles.WIDTH - 1}").unlink(missing_ok=True)
        self._journal = self._open_journal()

    def checkpoint(self) -> tuple[note.Checkpoint, str]:
        """Sync, write partial tiles, then sign and keep the tree head: a signature never covers what is not there."""
        if self._dead:
            raise WriteError("evidence could not be written before")
        try:
            os.fdatasync(self._journal)
            files = self._partial_files()
            for path, data in files.items():
                self._write(path, data)
            head = note.Checkpoint(self._key.name, self.size, self.root())
            text = note.sign_checkpoint(head, self._key, self._sign)
            self._write(CHECKPOINT, text.encode())
            for path in self._partial - set(files):
                (self._directory / path).unlink(missing_ok=True)
            self._partial = set(files)
        except OSError as exc:
            self._dead = True
            raise WriteError(f"checkpoint cannot be written: {exc.strerror}") from exc
        return head, text

    def _partial_files(self) -> dict[str, bytes]:
        """What a tree of this size has besides full tiles and bundles."""
        files = {
            tiles.tile_path(level, index, width): b"".join(self._levels[level])
            for level, index, width in tiles.widths(self.size)
            if width < tiles.WIDTH
        }
        if self._pending:
            number = self.size // tiles.WIDTH
            files[tiles.entries_path(number, len(self._pending))] = tiles.bundle(self._pending)
        return files

    def keep_cosigned(self, text: str) -> None:
        """Keep a cosigned checkpoint: beside newer ones, it is what speaks against a rewritten past."""
        try:
            self._write(tiles.COSIGNED, text.encode())
        except OSError as exc:
            raise WriteError(f"checkpoint cannot be written: {exc.strerror}") from exc

    def close(self) -> None:
        """Safe to call again."""
        if self._journal >= 0:
            os.close(self._journal)
            self._journal = -1

    # --- reading -----------------------------------------------------------------------------------------------

    def root(self) -> bytes:
        return merkle.tree_root(self.size, self._nodes)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, self._nodes)

    def entries(self) -> "list[bytes]":
        """Entries of the last bundle and of the pending ones: enough to know where a run stood."""
        number = self.size // tiles.WIDTH - 1
        before = list(tiles.entries(self._read(tiles.entries_path(number)) or b"")) if number >= 0 else []
        return before + self._pending

    def _nodes(self, level: int, index: int) -> bytes:
        tile_level, inside = divmod(level, tiles.HEIGHT)
        first = index << inside
        number, offset = divmod(first, tiles.WIDTH)
        count = self.size >> (tiles.HEIGHT * tile_level)
        if number == count // tiles.WIDTH:
            hashes = self._levels[tile_level]
        else:
            data = self._read(tiles.tile_path(tile_level, number)) or b""
            hashes = [data[i : i + 32] for i in range(0, len(data), 32)]
        return merkle.root_of(hashes[offset : offset + (1 << inside)])

    # --- inside ------------------------------------------------------------------------------------------------

    def _add(self, entries: Sequence[bytes], *, write: bool) -> None:
        """Entries that the bundle being filled has room for."""
        self._pending.extend(entries)
        self.size += len(entries)
        self._push(0, map(merkle.leaf_hash, entries), write=write)
        if len(self._pending) == tiles.WIDTH:
            if write:
                self._write(tiles.entries_path(self.size // tiles.WIDTH - 1), tiles.bundle(self._pending))
            self._pending = []

    def _push(self, level: int, hashes: Iterable[bytes], *, write: bool) -> None:
        """Hashes that the tile being filled on this level has room for."""
        if level == len(self._levels):
            self._levels.append([])
        tile = self._levels[level]
        tile.extend(hashes)
        if len(tile) == tiles.WIDTH:
            if write:
                index = (self.size >> (tiles.HEIGHT * (level + 1))) - 1
                self._write(tiles.tile_path(level, index), b"".join(tile))
            self._levels[level] = []
            self._push(level + 1, [merkle.root_of(tile)], write=write)

    def _recover(self) -> None:
        self._partial = {
            str(path.relative_to(self._directory))
            for path in self._directory.glob("tile/**/*.p/*")
            if path.is_file()
        }
        number = 0
        while (data := self._read(tiles.entries_path(number))) is not None:
            entries = list(tiles.entries(data))
            if len(entries) != tiles.WIDTH:
                raise RollbackError(f"bundle `{number}` holds {len(entries)} entries", hint=RESTORE)
            self._add(entries, write=False)
            number += 1
        journal = self._read(self._journal_name()) or b""
        name, whole = self._journal_name(), 0
        with contextlib.suppress(AuditError):  # the tail that was being written when we died
            for entry in tiles.entries(journal):
                # The last entry of a bundle may have been synced, and its files not.
                self._add([entry], write=True)
                whole += len(entry) + 2
        if whole < len(journal):
            os.truncate(self._directory / name, whole)
        if name != self._journal_name():
            (self._directory / name).unlink(missing_ok=True)
        signed = self._read(CHECKPOINT)
        if signed is not None:
            head, _ = note.open_checkpoint(signed.decode("utf-8", "replace"), [self._key])
            if head.size > self.size or merkle.tree_root(head.size, self._nodes) != head.root:
                raise RollbackError(
                    f"the log holds {self.size} entries, its own checkpoint says {head.size}",
                    hint=RESTORE,
                )

    def _read(self, path: str) -> bytes | None:
        try:
            return (self._directory / path).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, path: str, data: bytes) -> None:
        target = self._directory / path
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.new")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fdatasync(file.fileno())
        temporary.replace(target)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
