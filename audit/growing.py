"""A log that grows: which bytes go where, and in which order, whatever keeps them. Pure: the files are a port.

1. Entries are appended to a journal. Full tiles are kept, then their bundle, then the journal of their entries goes.
2. A checkpoint is signed once everything that it covers is kept, and never goes back.
3. What is torn at the journal's end was never acknowledged, and is cut. A log that is shorter than its own checkpoint does
   not open: going on would fork it. All entries are read for that, tiles are not believed.
Whatever the port raises leaves this object unusable: open a new one on the same files.
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from audit import merkle, note, tiles
from audit.errors import AuditError, RecordError

JOURNAL = "journal"


class ShorterError(AuditError):
    """The kept log is shorter than what was signed, or another."""


class Files(Protocol):
    """Where a log is kept. `write` is whole or not at all, and lasting when it returns; `append` is once `sync` has."""

    def read(self, path: str) -> bytes | None: ...
    def write(self, path: str, data: bytes) -> None: ...
    def append(self, path: str, data: bytes) -> None: ...
    def sync(self, path: str) -> None: ...
    def cut(self, path: str, size: int) -> None: ...
    def remove(self, path: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A checkpoint on its way: signed, and not shown to anybody before its files are kept."""

    head: note.Checkpoint
    text: str
    files: Mapping[str, bytes]
    gone: frozenset[str]


class GrowingLog:
    """One writer. `size` counts entries."""

    def __init__(self, files: Files, key: note.VerifierKey, sign: note.Sign) -> None:
        self._files, self._key, self._sign = files, key, sign
        self._levels: list[list[bytes]] = [[]]  # per tile level: the hashes of its last, partial tile
        self._pending: list[bytes] = []  # entries that fill no bundle yet
        self._partial: set[str] = set()  # files of the newest checkpoint that the next one replaces
        self.size = 0
        self._recover()

    def append(self, entries: Sequence[bytes]) -> None:
        """In the journal when it returns; lasting after `sync`."""
        while entries:
            room = tiles.WIDTH - len(self._pending)
            some, entries = entries[:room], entries[room:]
            self._files.append(self._journal(), tiles.bundle(some))
            self._add(some, write=True)

    def sync(self) -> None:
        if self._pending:
            self._files.sync(self._journal())

    def checkpoint(self) -> tuple[note.Checkpoint, str]:
        """A signed tree head that covers every entry so far; kept when it returns."""
        made = self.snapshot()
        self.keep(made)
        return made.head, made.text

    def snapshot(self) -> "Snapshot":
        """A signed tree head, and what must be kept before it. One at a time; entries may be appended meanwhile."""
        self.sync()
        files = self._partial_files()
        head = note.Checkpoint(self._key.name, self.size, self.root(self.size))
        gone = self._partial - set(files)
        self._partial = set(files)
        text = note.sign_checkpoint(head, self._key, self._sign)
        return Snapshot(head=head, text=text, files=files, gone=frozenset(gone))

    def keep(self, made: "Snapshot") -> None:
        """(2) May run beside `append`, on another thread: they touch no file in common."""
        for path, data in made.files.items():
            self._files.write(path, data)
        self._files.write(tiles.CHECKPOINT, made.text.encode())
        for path in made.gone:
            self._files.remove(path)

    def keep_cosigned(self, text: str) -> None:
        """Beside newer checkpoints, it is what speaks against a rewritten past."""
        self._files.write(tiles.COSIGNED, text.encode())

    def root(self, size: int) -> bytes:
        """The root over the first `size` entries."""
        return merkle.tree_root(size, self._nodes)

    def consistency(self, old: int, new: int) -> list[bytes]:
        return merkle.consistency_proof(old, new, self._nodes)

    def recent(self) -> list[bytes]:
        """Entries of the last bundle, and those that fill none yet."""
        number = self.size // tiles.WIDTH - 1
        before = self._files.read(tiles.entries_path(number)) if number >= 0 else None
        return [*tiles.entries(before or b""), *self._pending]

    # --- inside --------------------------------------------------------------------------------------------------

    def _journal(self) -> str:
        return f"{JOURNAL}.{self.size // tiles.WIDTH}"

    def _add(self, entries: Sequence[bytes], *, write: bool) -> None:
        """Entries that the bundle being filled has room for. `write` False: what they fill is kept already."""
        journal = self._journal()
        self._pending.extend(entries)
        self.size += len(entries)
        self._push(0, map(merkle.leaf_hash, entries), write=write)
        if len(self._pending) == tiles.WIDTH:
            full, self._pending = self._pending, []
            if write:
                self._files.write(tiles.entries_path(self.size // tiles.WIDTH - 1), tiles.bundle(full))
                self._files.remove(journal)  # (1)

    def _push(self, level: int, hashes: Iterable[bytes], *, write: bool) -> None:
        """Hashes that the tile being filled on this level has room for."""
        if level == len(self._levels):
            self._levels.append([])
        tile = self._levels[level]
        tile.extend(hashes)
        if len(tile) == tiles.WIDTH:
            if write:
                index = (self.size >> (tiles.HEIGHT * (level + 1))) - 1
                self._files.write(tiles.tile_path(level, index), b"".join(tile))
            self._levels[level] = []
            self._push(level + 1, [merkle.root_of(tile)], write=write)

    def _partial_files(self) -> dict[str, bytes]:
        """What a tree of this size has besides full tiles and bundles."""
        files = {
            tiles.tile_path(level, index, width): b"".join(self._levels[level])
            for level, index, width in tiles.widths(self.size)
            if width < tiles.WIDTH
        }
        if self._pending:
            path = tiles.entries_path(self.size // tiles.WIDTH, len(self._pending))
            files[path] = tiles.bundle(self._pending)
        return files

    def _nodes(self, level: int, index: int) -> bytes:
        tile_level, inside = divmod(level, tiles.HEIGHT)
        number, offset = divmod(index << inside, tiles.WIDTH)
        hashes = self._tile(tile_level, number)
        return merkle.root_of(hashes[offset : offset + (1 << inside)])

    def _tile(self, level: int, number: int) -> list[bytes]:
        if number == (self.size >> (tiles.HEIGHT * level)) // tiles.WIDTH:
            return self._levels[level]
        data = self._files.read(tiles.tile_path(level, number))
        if data is None or len(data) != tiles.WIDTH * tiles.HASH_BYTES:
            raise ShorterError(f"tile `{tiles.tile_path(level, number)}` is missing or torn")
        return [data[i : i + tiles.HASH_BYTES] for i in range(0, len(data), tiles.HASH_BYTES)]

    def _recover(self) -> None:
        head = self._own_checkpoint()
        while (data := self._files.read(tiles.entries_path(self.size // tiles.WIDTH))) is not None:
            entries = list(tiles.entries(data))
            if len(entries) != tiles.WIDTH:
                raise ShorterError(f"bundle `{self.size // tiles.WIDTH}` holds {len(entries)} entries")
            self._add(entries, write=False)
        if self.size:
            self._files.remove(
                f"{JOURNAL}.{self.size // tiles.WIDTH - 1}"
            )  # (1), if that was what was left to do
        self._replay()
        if head is None:
            return
        if head.size > self.size or self.root(head.size) != head.root:
            raise ShorterError(
                f"the log holds {self.size} entries, its own checkpoint says {head.size}"
            )  # (3)
        widths = [
            (level, index, width) for level, index, width in tiles.widths(head.size) if width < tiles.WIDTH
        ]
        self._partial = {tiles.tile_path(*one) for one in widths}
        if rest := head.size % tiles.WIDTH:
            self._partial.add(tiles.entries_path(head.size // tiles.WIDTH, rest))

    def _own_checkpoint(self) -> note.Checkpoint | None:
        text = self._files.read(tiles.CHECKPOINT)
        return None if text is None else note.open_checkpoint(text.decode("utf-8", "replace"), [self._key])[0]

    def _replay(self) -> None:
        """The journal of the bundle that is being filled, without a torn end."""
        path = self._journal()
        data = self._files.read(path) or b""
        found: list[bytes] = []
        with contextlib.suppress(RecordError):
            found.extend(tiles.entries(data))
        whole = len(tiles.bundle(found))
        if whole < len(data):
            self._files.cut(path, whole)  # no room is needed: the device may be full
        for entry in found:
            self._add([entry], write=True)
