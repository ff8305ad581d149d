"""The embedded store on a device that is full or broken, in a file that another process has, beside one that reads."""

import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from barenode import CODE, Node
from cryptography.hazmat.primitives.asymmetric import ed25519
from faults.cases import case

from agent.evidence.log import NodeLog
from audit import note
from certs import keys
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError, Exit
from controlplane.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(120)
LEFT = 512 << 10
KEY = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
TESTS = str(Path(__file__).parents[1])


def started(directory: Path) -> Mesh:
    mesh = Mesh(directory, lease_s=60, heartbeat_s=0.5)
    mesh.init()
    mesh.start_control_plane()
    return mesh


def run(script: str, *words: object) -> dict:
    """What a child said last, as JSON."""
    command = [sys.executable, "-c", script, *map(str, words)]
    done = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": TESTS}, capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@case(6, "no room on the control plane's device", "writes fail and say why, reads go on, room heals it")
def test_a_full_device_costs_nothing_that_was_acknowledged(tmp_path, saw) -> None:
    state = tmp_path / "controlplane"
    state.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", state], check=True)
    try:
        with started(tmp_path) as mesh:
            mesh.site("paris", "FR")
            node, made = Node(mesh, "full", tmp_path), ["paris"]
            stream = node.listen(mesh.replicas[0])
            assert stream.next_beat(10)
            _fill(state / "filler")
            with pytest.raises(CliError) as caught:
                for number in itertools.count():
                    mesh.site(f"s{number}", "FR")
                    made.append(f"s{number}")
            assert (caught.value.code, "make room" in caught.value.hint) == (Exit.UNREACHABLE, True)
            assert node.renew(mesh.replicas[0], keys.generate_p256(), "f" * 20) is CODE.UNAVAILABLE
            assert stream.next_beat(10)
            (state / "filler").unlink()
            mesh.site("after", "FR")
            assert isinstance(node.renew(mesh.replicas[0], keys.generate_p256(), "f" * 20), tuple)
            assert _sites(mesh) == sorted([*made, "after"])
            stream.close()
            saw(f"{len(made)} acknowledged, {len(made)} there")
    finally:
        subprocess.run(["umount", "-l", state], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    os.truncate(path, path.stat().st_size - LEFT)


def _sites(mesh: Mesh) -> list[str]:
    from controlplane.api.gen import admin_pb2

    return sorted(site.name for site in mesh.call("ListSites", admin_pb2.ListSitesRequest()).sites)


SYNC_FAILS = """
import asyncio, json, sys
from pathlib import Path
from controlplane.errors import UnavailableError
from controlplane.store.sqlite import SqliteStore
from faults import syscalls
async def main():
    store = SqliteStore.open(Path(sys.argv[1]))
    for number in range(20):
        await store.commit(expect={}, put={f"k{number}": b""})
    syscalls.fail(syscalls.FSYNC, syscalls.FDATASYNC)
    try:
        await store.commit(expect={}, put={"lost": b""})
    except UnavailableError as exc:
        print(json.dumps({"said": str(exc), "hint": exc.hint}))
asyncio.run(main())
"""
LOG_SYNC_FAILS = """
import json, sys
from pathlib import Path
from agent.evidence.errors import WriteError
from agent.evidence.log import NodeLog
from audit import note
from cryptography.hazmat.primitives.asymmetric import ed25519
from faults import syscalls
key = ed25519.Ed25519PrivateKey.from_private_bytes(b"k" * 32)
log = NodeLog(Path(sys.argv[1]), note.VerifierKey("o", note.NOTE, key.public_key().public_bytes_raw()), key.sign)
log.append([b"a"] * 10)
head, _ = log.checkpoint()
syscalls.fail(syscalls.FSYNC, syscalls.FDATASYNC)
said = []
for attempt in (lambda: (log.append([b"b"]), log.checkpoint()), log.checkpoint, lambda: log.append([b"c"])):
    try:
        attempt()
    except WriteError as exc:
        said.append(str(exc))
print(json.dumps({"size": head.size, "said": said}))
"""


@case(8, "a sync that fails (EIO)", "what it covered is not acknowledged, and it is not tried again")
async def test_what_could_not_be_synced_was_never_said_to_be_there(tmp_path) -> None:
    said = run(SYNC_FAILS, tmp_path / "writ.db")
    assert "cannot write" in said["said"]
    assert "device" in said["hint"]
    store = SqliteStore.open(tmp_path / "writ.db")
    items, _ = await store.list("k")
    await store.close()
    assert len(items) == 20


@case(8, "a sync that fails (EIO)", "what it covered is not acknowledged, and it is not tried again")
def test_a_log_whose_sync_failed_signs_nothing_more_until_it_is_opened_anew(tmp_path) -> None:
    said = run(LOG_SYNC_FAILS, tmp_path / "log")
    assert len(said["said"]) == 3
    assert "written before" in said["said"][1]
    mine = note.VerifierKey("o", note.NOTE, KEY.public_key().public_bytes_raw())
    head, _ = note.open_checkpoint((tmp_path / "log" / "checkpoint").read_text(), [mine])
    assert head.size == said["size"] == 10
    again = NodeLog(tmp_path / "log", mine, KEY.sign)
    assert list(again.entries()) == [b"a"] * 10 + [b"b"]
    again.close()


@case(9, "a second control plane on one SQLite file", "it is refused, and the first goes on")
def test_a_second_process_on_one_file_ends_at_once(tmp_path) -> None:
    with started(tmp_path) as mesh:
        command = [sys.executable, "-m", "controlplane", "--config", str(mesh.replicas[0].config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr.count("\n")) == (6, 2), done.stderr
        assert "another control plane uses" in done.stderr
        assert "hint: stop the other process" in done.stderr
        mesh.site("paris", "FR")
        assert _sites(mesh) == ["paris"]


WRITER = """
import asyncio, sys
from pathlib import Path
from controlplane.store.sqlite import SqliteStore
async def main():
    store = SqliteStore.open(Path(sys.argv[1]))
    for number in range(100000):
        await store.commit(expect={}, put={f"k{number:06d}": bytes(2000), "last": str(number).encode()})
        print(number, flush=True)
asyncio.run(main())
"""


@case(10, "another process reads while checkpoints run", "it sees whole states; the writer loses nothing")
async def test_a_reader_beside_the_writer_sees_whole_states_and_spoils_none(tmp_path, saw) -> None:
    path = tmp_path / "writ.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
    acknowledged, looks = 0, 0
    for line in writer.stdout:
        acknowledged = int(line)
        if acknowledged % 20 == 0:
            _look(path)
            looks += 1
        if acknowledged == 4000:  # some 16 MB: several checkpoints
            break
    os.kill(writer.pid, signal.SIGKILL)
    acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
    writer.wait()
    writer.stdout.close()
    store = SqliteStore.open(path)
    items, _ = await store.list("k")
    await store.close()
    assert len(items) in {acknowledged + 1, acknowledged + 2}
    saw(f"{looks} looks, {acknowledged + 1} acknowledged, none missing")


def _look(path: Path) -> None:
    """A whole state: every commit up to the last."""
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as reading:
        count, last = reading.execute(
            "SELECT (SELECT count(*) FROM item WHERE key LIKE 'k%'), CAST(value AS TEXT) FROM item WHERE key = 'last'"
        ).fetchone()
    reading.close()
    assert count == int(last) + 1
