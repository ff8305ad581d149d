"""The store in one SQLite file: WAL, synchronous=FULL, one writer thread, group commit.

Commits that arrive while one is being synced share the next sync: durability costs one fdatasync per group, not per
commit. The file is locked for this process: two writers on one file would each believe themselves alone. SQLite cannot
see its own rollback (a torn WAL loses acknowledged rows silently); cosigned checkpoints are what notices.
"""

import asyncio
import contextlib
import fcntl
import json
import os
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TypeVar

from controlplane.errors import (
    CompactedError,
    CorruptError,
    NotFoundError,
    UnavailableError,
)
from controlplane.store.base import Event, Expect, Health, Item, Lists, Member
from controlplane.store.changes import Changes, Pending
from controlplane.store.checks import check_commit

SCHEMA_VERSION = 1
HISTORY = 100_000  # events kept for watches that resume
GROUP = 256  # commits that may share one sync
CHECKPOINT = (
    4000  # pages of the log, 16 MiB: each checkpoint syncs the whole file, and commits wait meanwhile
)
SCHEMA = """
CREATE TABLE IF NOT EXISTS item (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (seq INTEGER PRIMARY KEY, revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB);
CREATE INDEX IF NOT EXISTS event_revision ON event (revision);
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT OR IGNORE INTO meta VALUES ('revision', 0), ('compacted', 0);
"""
# By revision, whatever the planner thinks of the key: there are few new events, and many old ones.
EVENTS = """
SELECT revision, key, value FROM event INDEXED BY event_revision
WHERE revision > ? AND revision <= ? AND key >= ? AND key < ? ORDER BY seq
"""
LAST = "\U0010ffff"  # above every key with a prefix before it
# One question for all that a group compares: between two statements Python's lock may change hands.
FOUND = "SELECT json_group_object(key, revision) FROM item WHERE key IN (SELECT value FROM json_each(?))"
EVENT = "INSERT INTO event (revision, key, value) VALUES (?, ?, ?)"
ITEM = "INSERT OR REPLACE INTO item (revision, key, value) VALUES (?, ?, ?)"
GONE = "DELETE FROM item WHERE key IN (SELECT value FROM json_each(?))"
RECENT = 8  # groups whose events are at hand: a watch that keeps up asks no file
TABLES = frozenset({"item", "event", "meta"})
T = TypeVar("T")


class SqliteStore:
    """Open with `open`; all SQL runs on one thread of its own."""

    def __init__(
        self, path: Path, connection: sqlite3.Connection, lock: int, thread: ThreadPoolExecutor
    ) -> None:
        self._path, self._sql, self._lock, self._thread = path, connection, lock, thread
        self._pending: list[Pending] = []
        self._writing: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()
        self._recent: tuple[tuple[int, list[Event]], ...] = ()  # with the revision before each group
        self._revision = int(
            self._sql.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()[0]
        )

    @classmethod
    def open(cls, path: Path) -> "SqliteStore":
        """Open or create; UnavailableError when another process has it, CorruptError when it is not ours."""
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            os.close(lock)
            hint = "stop the other process, or give this one a directory of its own"
            raise UnavailableError(f"another control plane uses `{path}`", hint=hint) from exc
        try:
            return cls(path, _connect(path), lock, ThreadPoolExecutor(1, thread_name_prefix="sqlite"))
        except sqlite3.DatabaseError as exc:
            os.close(lock)
            raise CorruptError(f"`{path}` cannot be used: {exc}", hint="restore it from a backup") from exc
        except CorruptError:
            os.close(lock)
            raise

    async def get(self, key: str) -> Item | None:
        rows = await self._run(
            lambda: self._sql.execute("SELECT * FROM item WHERE key = ?", (key,)).fetchall()
        )
        return Item(*rows[0]) if rows else None

    async def list(self, prefix: str) -> tuple[list[Item], int]:
        lists, revision = await self.snapshot([prefix])
        return lists[0], revision

    async def snapshot(self, prefixes: Sequence[str]) -> tuple[Lists, int]:
        query = "SELECT * FROM item WHERE key >= ? AND key < ? ORDER BY key"

        def read() -> tuple[Lists, int]:
            found = [self._sql.execute(query, (one, one + LAST)).fetchall() for one in prefixes]
            return [[Item(*row) for row in rows] for rows in found], self._revision

        return await self._run(read)

    async def commit(self, *, expect: Expect, put: Mapping[str, bytes], delete: Sequence[str] = ()) -> int:
        check_commit(expect, put, delete)
        done = asyncio.get_running_loop().create_future()
        self._pending.append(Pending(expect, put, delete, done))
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._drain())
        # A caller that leaves must not take a group with it: its commit may already be under way.
        return await asyncio.shield(done)

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        while True:
            seen = self._revision
            for event in await self._since(prefix, after, seen):
                yield event
            after = max(after, seen)
            async with self._changed:
                await self._changed.wait_for(lambda: self._revision > after)  # noqa: B023 - waits in this turn

    async def _since(self, prefix: str, after: int, upto: int) -> Sequence[Event]:
        recent = self._recent
        if not recent or after < recent[0][0]:
            return await self._run(lambda: self._events(prefix, after, upto))
        fresh = chain(*(events for _, events in recent if events and events[-1].revision > after))
        return [one for one in fresh if after < one.revision <= upto and one.key.startswith(prefix)]

    async def health(self) -> Health:
        size = sum(path.stat().st_size for path in self._path.parent.glob(f"{self._path.name}*"))
        file = Member(name=str(self._path), up=True, leads=True, version=sqlite3.sqlite_version, size=size)
        return Health(kind="sqlite", members=(file,), room=shutil.disk_usage(self._path.parent).free)

    async def advance(self, revision: int) -> None:
        """Begin again above `revision`: every row is as if it had been written then. For `epochs`, while nobody else looks."""
        await self._run(lambda: self._advance(revision))

    def _advance(self, revision: int) -> None:
        with self._sql:
            self._sql.execute("BEGIN IMMEDIATE")
            self._sql.execute("UPDATE item SET revision = ?", (revision,))
            self._sql.execute("DELETE FROM event")
            self._sql.execute("UPDATE meta SET value = ?", (revision,))  # of both: no history before it
        self._revision, self._recent = revision, ()

    async def close(self) -> None:
        if self._writing is not None:
            await self._writing
        await self._run(self._sql.close)
        self._thread.shutdown()
        os.close(self._lock)

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _drain(self) -> None:
        while self._pending:
            group, self._pending = self._pending[:GROUP], self._pending[GROUP:]
            try:
                results: Sequence[int | Exception] = await self._run(lambda: self._apply(group))  # noqa: B023 - runs in this turn
            except sqlite3.Error as exc:
                results = [_unwritable(exc)] * len(group)
            async with self._changed:
                self._changed.notify_all()
            for pending, result in zip(group, results, strict=True):
                if isinstance(result, int):
                    pending.done.set_result(result)
                else:
                    pending.done.set_exception(result)

    def _apply(self, group: Sequence[Pending]) -> Sequence[int | Exception]:
        """One transaction for the group; a failed expectation fails its own commit only."""
        with self._sql:
            self._sql.execute("BEGIN IMMEDIATE")
            changes = Changes(self._found(group), self._revision)
            results = [changes.apply(one) for one in group]
            self._sql.executemany(EVENT, [(one.revision, one.key, one.value) for one in changes.events])
            self._sql.executemany(ITEM, [(one.revision, one.key, one.value) for one in changes.put])
            self._sql.execute(GONE, (json.dumps(changes.gone),))
            self._sql.execute("UPDATE meta SET value = ? WHERE name = 'revision'", (changes.revision,))
            self._compact()
        # One before the other: a watch that sees the revision finds its events.
        self._recent = (*self._recent[1 - RECENT :], (self._revision, changes.events))
        self._revision = changes.revision
        return results

    def _found(self, group: Sequence[Pending]) -> dict[str, int]:
        """The revisions of all keys that a group compares or deletes."""
        keys = {key for one in group for key in (*one.expect, *one.delete)}
        return dict(json.loads(self._sql.execute(FOUND, (json.dumps([*keys]),)).fetchone()[0]))

    def _compact(self) -> None:
        last = self._sql.execute("SELECT max(seq) FROM event").fetchone()[0] or 0
        row = self._sql.execute("SELECT revision FROM event WHERE seq = ?", (last - HISTORY,)).fetchone()
        if row:
            self._sql.execute("DELETE FROM event WHERE revision <= ?", row)
            self._sql.execute("UPDATE meta SET value = ? WHERE name = 'compacted'", row)

    def _events(self, prefix: str, after: int, upto: int) -> Sequence[Event]:
        compacted = self._sql.execute("SELECT value FROM meta WHERE name = 'compacted'").fetchone()[0]
        if after < compacted:
            raise CompactedError(f"history starts at revision {compacted}")
        return [Event(*row) for row in self._sql.execute(EVENTS, (after, upto, prefix, prefix + LAST))]


def look(path: Path) -> tuple[list[Item], int]:
    """All rows and their revision, of one moment, beside the process that writes: it is not held up, nothing is locked."""
    if not path.exists():
        raise NotFoundError(f"there is no store at `{path}`", hint="is state_dir right?")
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reading:
            check_ours(reading, path)
            reading.execute("BEGIN")  # one snapshot for both questions
            items = [Item(*row) for row in reading.execute("SELECT * FROM item ORDER BY key")]
            revision = reading.execute("SELECT value FROM meta WHERE name = 'revision'").fetchone()[0]
    except sqlite3.DatabaseError as exc:
        raise CorruptError(f"`{path}` cannot be read: {exc}", hint="restore it from a backup") from exc
    return items, int(revision)


def _unwritable(exc: sqlite3.Error) -> UnavailableError:
    """SQLite takes a group back that it could not sync, and writes all of it anew with the next: nothing is synced twice."""
    full = exc.sqlite_errorcode == sqlite3.SQLITE_FULL
    hint = "make room on its device" if full else "look at its device: what the kernel says of it is in dmesg"
    return UnavailableError(f"the store cannot write: {exc}", hint=hint)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        check_ours(connection, path)
        path.chmod(0o600)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT}")
        connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT")
    except BaseException:
        connection.close()
        raise
    return connection


def check_ours(connection: sqlite3.Connection, path: Path) -> None:
    """CorruptError when a file is of another version, or somebody else's. Reads only: nothing is written before."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version not in {0, SCHEMA_VERSION}:
        hint = "upgrade this control plane" if version > SCHEMA_VERSION else "migrate the store"
        what = f"`{path}` has schema version {version}, this program knows {SCHEMA_VERSION}"
        raise CorruptError(what, hint=hint)
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    if tables - TABLES or (tables and not version):
        raise CorruptError(
            f"`{path}` is a database of something else", hint="give state_dir another directory"
        )
