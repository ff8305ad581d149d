"""A store that was put back: torn, copied or restored. It is seen, refused, and goes on only in a new epoch."""

import contextlib
import shutil
import sqlite3
import subprocess
import time
from pathlib import Path

import commands
import mesh as small
import pytest
from barenode import CODE, Listening, Node, trust, until
from faults.cases import case
from mesh import CALLER, ask, caller

from certs import keys
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh
from controlplane.services.restore.mark import EPOCH_BITS
from policies.trusted import TrustedDocuments

pytestmark = pytest.mark.timeout(180)
END_S = 30


def started(directory: Path, **options: object) -> Mesh:
    mesh = Mesh(directory, lease_s=60, heartbeat_s=0.5, **options)
    mesh.init()
    mesh.start_control_plane()
    mesh.site("paris", "FR")
    return mesh


def writ(*words: object) -> subprocess.CompletedProcess:
    return commands.writ(*map(str, words), "--yes")


def refused(mesh: Mesh, said: str) -> None:
    """It does not start, with one clear error."""
    process = mesh.control_plane
    process.log.write_bytes(b"")
    process.start()
    assert process.child.wait(END_S) == 1
    text = process.log.read_text()
    assert text.startswith("error: "), text
    assert said in text
    assert "\nhint: " in text
    process.child = None


def heard(node: Node, mesh: Mesh, hello=None) -> Listening:
    stream = node.listen(mesh.replicas[0], *([hello] if hello else []))
    until(lambda: stream.trust and stream.beats)
    return stream


def accepted(*streams: Listening) -> TrustedDocuments:
    """An agent that hears one after the other, and remembers. DocumentError if it refuses any of it."""
    root = None
    for stream in streams:
        root = root or trust(stream.trust[-1]).roots[0]
    node = f"spiffe://{TRUST_DOMAIN}/fr/paris/stays"
    documents = TrustedDocuments(root=root, trust_domain=TRUST_DOMAIN, node=node)
    for stream in streams:
        documents.update_delegation(stream.delegations[-1], int(time.time()))
        documents.update_trust(stream.trust[-1], int(time.time()))
        documents.update_heartbeat(stream.beats[-1], int(time.time()))
    return documents


@pytest.mark.parametrize("fault", ["cut", "flipped", "deleted", "database cut"])
@case(4, "the store's file torn or spoiled", "it is noticed at the start, and nothing is served from it")
def test_a_store_that_lost_its_newest_rows_is_refused(tmp_path, fault) -> None:
    with started(tmp_path) as mesh:
        Node(mesh, "gone", tmp_path)
        mesh.revoke("gone.paris")
        mesh.control_plane.kill()
        path = tmp_path / "controlplane" / "writ.db"
        wal = path.with_name("writ.db-wal")
        data = bytearray(wal.read_bytes())
        if fault == "cut":
            wal.write_bytes(data[: len(data) // 2])
        elif fault == "flipped":
            data[len(data) // 2] ^= 1
            wal.write_bytes(data)
        elif fault == "deleted":
            wal.unlink()
        else:
            _checkpointed(path)
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        refused(mesh, "cannot be used" if fault == "database cut" else "the store is older than the mesh")


def _checkpointed(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@case(
    5,
    "the whole state directory put back",
    "an agent's proof ends it; it goes on in a new epoch, nobody comes back",
)
def test_an_old_copy_is_found_out_and_goes_on_in_a_new_epoch_only(tmp_path, saw) -> None:
    with started(tmp_path) as mesh:
        stays, gone = (Node(mesh, name, tmp_path) for name in ("stays", "gone"))
        state, copy = tmp_path / "controlplane", tmp_path / "copy"
        mesh.control_plane.kill()
        shutil.copytree(state, copy)
        mesh.start_control_plane()
        mesh.revoke("gone.paris")
        before = heard(stays, mesh)
        before.close()
        mesh.control_plane.kill()
        shutil.rmtree(state)
        shutil.copytree(copy, state)
        mesh.start_control_plane()  # nothing here says that it is old
        late = stays.listen(mesh.replicas[0], before.holds())
        assert late.ended.wait(END_S)
        assert late.code is CODE.FAILED_PRECONDITION
        assert mesh.control_plane.child.wait(END_S) == 1
        refused(mesh, "the store is older than the mesh")
        settings = mesh.replicas[0].config
        done = writ("backup", "new-epoch", "--config", settings)
        assert (done.returncode, "what was revoked since" in done.stderr) == (2, True)
        refused(mesh, "the store is older than the mesh")
        done = writ("backup", "new-epoch", "--config", settings, "--agent", before.keep(tmp_path / "agent"))
        assert (done.returncode, "fr/paris/gone" in done.stdout) == (0, True), done.stderr
        mesh.start_control_plane()
        after = heard(stays, mesh, before.holds())
        assert accepted(before, after).trust.generation >> EPOCH_BITS == 1
        assert trust(after.trust[-1]).floors[f"spiffe://{TRUST_DOMAIN}/fr/paris/gone"] is None
        assert gone.renew(mesh.replicas[0], keys.generate_p256(), "g" * 20) is CODE.PERMISSION_DENIED
        assert isinstance(stays.renew(mesh.replicas[0], keys.generate_p256(), "s" * 20), tuple)
        after.close()
        saw("epoch 1, the revocation kept")


@case(
    5,
    "the whole state directory put back",
    "an agent's proof ends it; it goes on in a new epoch, nobody comes back",
)
def test_real_agents_go_on_after_a_restore_and_their_logs_with_them(tmp_path) -> None:
    made = small.start(tmp_path)
    try:
        settings, state = made.replicas[0].config, tmp_path / "controlplane"
        done = writ("backup", "create", "--config", settings, "--out", tmp_path / "backup")
        assert done.returncode == 0, done.stderr
        assert ask(made) == "allowed"
        until(lambda: _cosigned(made) > 1)
        made.control_plane.kill()
        for path in state.glob("writ.db*"):
            path.unlink()
        words = ["--config", settings, "--new-epoch", "--agent", caller(made).state]
        done = writ("backup", "restore", tmp_path / "backup", *words)
        assert done.returncode == 0, done.stderr
        cosigned = _cosigned(made)
        made.start_control_plane()
        made.wait_enforced()
        assert ask(made) == "allowed"
        until(lambda: _cosigned(made) > cosigned)
        assert made.find(CALLER).state == "enrolled"
    finally:
        made.stop()


def _cosigned(mesh: Mesh) -> int:
    """Entries of the caller's log that the control plane cosigned."""
    path = caller(mesh).evidence / "checkpoint.cosigned"
    return int(path.read_text().split("\n")[1]) if path.exists() else 0


@pytest.mark.parametrize("store", ["sqlite", "etcd"])
@case(
    5,
    "the whole state directory put back",
    "an agent's proof ends it; it goes on in a new epoch, nobody comes back",
)
def test_a_backup_is_restored_into_an_empty_store(tmp_path, store) -> None:
    with started(tmp_path, store=store) as mesh:
        stays, gone = (Node(mesh, name, tmp_path) for name in ("stays", "gone"))
        settings = mesh.replicas[0].config
        done = writ("backup", "create", "--config", settings, "--out", tmp_path / "backup")
        assert done.returncode == 0, done.stderr
        assert writ("backup", "create", "--config", settings, "--out", tmp_path / "backup").returncode == 5
        mesh.revoke("gone.paris")
        before = heard(stays, mesh)
        before.close()
        done = writ("backup", "restore", tmp_path / "backup", "--config", settings)
        assert done.returncode == 5, done.stderr  # there is a store
        mesh.control_plane.kill()
        if store == "sqlite":
            (tmp_path / "lost").mkdir()
            for path in (tmp_path / "controlplane").glob("writ.db*"):
                path.rename(tmp_path / "lost" / path.name)
        else:
            mesh.etcd.control("del", "--prefix", "/")
        done = writ("backup", "restore", tmp_path / "backup", "--config", settings)
        assert (done.returncode, "until a new epoch" in done.stdout) == (0, True), done.stderr
        refused(mesh, "no new epoch was opened")
        agent = before.keep(tmp_path / "agent")
        done = writ("backup", "new-epoch", "--config", settings, "--agent", agent)
        assert done.returncode == 0, done.stderr
        mesh.start_control_plane()
        after = heard(stays, mesh, before.holds())
        assert accepted(before, after).trust.floors == {f"spiffe://{TRUST_DOMAIN}/fr/paris/gone": None}
        assert gone.renew(mesh.replicas[0], keys.generate_p256(), "g" * 20) is CODE.PERMISSION_DENIED
        assert isinstance(stays.renew(mesh.replicas[0], keys.generate_p256(), "s" * 20), tuple)
        after.close()


@case(
    5,
    "the whole state directory put back",
    "an agent's proof ends it; it goes on in a new epoch, nobody comes back",
)
def test_a_replica_that_was_removed_since_does_not_come_back(tmp_path) -> None:
    with started(tmp_path, store="etcd", replicas=2) as mesh:
        stays, (first, second) = Node(mesh, "stays", tmp_path), mesh.replicas
        done = writ("backup", "create", "--config", first.config, "--out", tmp_path / "backup")
        assert done.returncode == 0, done.stderr
        words = ["--config", first.config, "--root", first.state]
        done = writ("controlplane", "remove", second.name, *words)
        assert done.returncode == 0, done.stderr
        before = heard(stays, mesh)
        until(lambda: len(trust(before.trust[-1]).node_cas) == 1)
        assert second.process.child.wait(END_S) == 1
        before.close()
        first.process.kill()
        mesh.etcd.control("del", "--prefix", "/")
        words = ["--config", first.config, "--new-epoch", "--agent", before.keep(tmp_path / "agent")]
        done = writ("backup", "restore", tmp_path / "backup", *words)
        assert (done.returncode, "stay so: replica-2" in done.stdout) == (0, True), done.stderr
        mesh.control_plane.start()
        mesh.control_plane.ports()
        second.process.start()
        assert second.process.child.wait(END_S) == 1
        assert "has not delegated the document key" in second.process.log.read_text()
        second.process.child = None
        after = heard(stays, mesh, before.holds())
        assert trust(after.trust[-1]).node_cas == trust(before.trust[-1]).node_cas
        accepted(before, after)
        after.close()
