"""Both embedded stores pass one suite; SQLite keeps what it acknowledged, for one process at a time."""

import os
import signal
import sqlite3
import subprocess
import sys

import pytest
from conformance.store import StoreConformance

from controlplane.errors import CompactedError, CorruptError, NotFoundError, UnavailableError
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore, look


class TestMemory(StoreConformance):
    @pytest.fixture
    async def store(self):
        yield MemoryStore()


class TestSqlite(StoreConformance):
    @pytest.fixture
    async def store(self, tmp_path):
        store = SqliteStore.open(tmp_path / "writ.db")
        yield store
        await store.close()


async def test_a_watch_from_before_the_history_says_so() -> None:
    store = MemoryStore(history=5)
    for number in range(10):
        await store.commit(expect={}, put={str(number): b""})
    with pytest.raises(CompactedError):
        await anext(store.watch("", 1))


async def test_a_second_process_is_refused_and_the_file_is_private(tmp_path) -> None:
    store = SqliteStore.open(tmp_path / "writ.db")
    with pytest.raises(UnavailableError, match="another control plane"):
        SqliteStore.open(tmp_path / "writ.db")
    assert oct((tmp_path / "writ.db").stat().st_mode)[-3:] == "600"
    await store.close()
    again = SqliteStore.open(tmp_path / "writ.db")
    await again.close()


def test_a_file_of_something_else_is_refused(tmp_path) -> None:
    (tmp_path / "writ.db").write_bytes(b"not a database" * 100)
    with pytest.raises(CorruptError):
        SqliteStore.open(tmp_path / "writ.db")


def test_a_database_of_something_else_is_refused_and_not_touched(tmp_path) -> None:
    with sqlite3.connect(tmp_path / "writ.db") as other:
        other.execute("CREATE TABLE theirs (x)")
    other.close()
    before = (tmp_path / "writ.db").read_bytes()
    with pytest.raises(CorruptError, match="something else"):
        SqliteStore.open(tmp_path / "writ.db")
    assert (tmp_path / "writ.db").read_bytes() == before


WRITER = """
import asyncio, sys
from pathlib import Path
from controlplane.store.sqlite import SqliteStore, look
async def main():
    store = SqliteStore.open(Path(sys.argv[1]))
    for number in range(100000):
        await store.commit(expect={}, put={f"k{number:06d}": b"v"})
        print(number, flush=True)
asyncio.run(main())
"""


async def test_nothing_acknowledged_is_lost_when_the_writer_is_killed(tmp_path) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path / "writ.db")], stdout=subprocess.PIPE
    )
    last = 0
    for line in writer.stdout:
        last = int(line)
        if last == 200:
            os.kill(writer.pid, signal.SIGKILL)
            break
    last = max([last, *map(int, writer.stdout.read().split())])
    writer.wait()
    writer.stdout.close()
    store = SqliteStore.open(tmp_path / "writ.db")
    items, _ = await store.list("k")
    await store.close()
    assert len(items) in {last + 1, last + 2}


class TestSqliteAdvanced(StoreConformance):
    @pytest.fixture
    async def store(self, tmp_path):
        store = SqliteStore.open(tmp_path / "writ.db")
        await store.commit(expect={}, put={"before": b""})
        await store.advance(1 << 40)
        await store.commit(expect={}, put={}, delete=["before"])
        yield store
        await store.close()


async def test_an_advanced_store_counts_on_from_there(tmp_path) -> None:
    store = SqliteStore.open(tmp_path / "writ.db")
    await store.commit(expect={}, put={"a": b"1"})
    await store.advance(1 << 40)
    await store.close()
    store = SqliteStore.open(tmp_path / "writ.db")
    assert (await store.get("a")).revision == 1 << 40
    assert await store.commit(expect={"a": 1 << 40}, put={"a": b"2"}) == (1 << 40) + 1
    with pytest.raises(CompactedError):
        await anext(store.watch("", 1))
    await store.close()


async def test_a_look_from_beside_sees_what_is_committed_and_locks_nothing(tmp_path) -> None:
    store = SqliteStore.open(tmp_path / "writ.db")
    revision = await store.commit(expect={}, put={"a": b"1", "b": b"2"})
    items, seen = look(tmp_path / "writ.db")
    assert ([(item.key, item.value) for item in items], seen) == ([("a", b"1"), ("b", b"2")], revision)
    await store.commit(expect={}, put={"c": b""})
    await store.close()
    with pytest.raises(NotFoundError):
        look(tmp_path / "nothing.db")
