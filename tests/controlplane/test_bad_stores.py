"""Stores and settings that cannot work: one clear error with the way out, and nothing written anywhere."""

import asyncio
import contextlib
import hashlib
import http.server
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from controlplane import config, opening
from controlplane.cli.demo.etcd import Etcd
from controlplane.cli.demo.mesh import Mesh

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A mesh in SQLite that has served, and is stopped."""
    directory = tmp_path_factory.mktemp("sqlite")
    with Mesh(directory, lease_s=60, heartbeat_s=0.5) as mesh:
        mesh.init()
        mesh.start_control_plane()
        mesh.site("paris", "FR")
    return directory


@pytest.fixture
def copy(made, tmp_path) -> Path:
    """A copy of that mesh; its settings."""
    shutil.copytree(made, tmp_path / "copy")
    settings = tmp_path / "copy" / "controlplane.toml"
    settings.write_text(settings.read_text().replace(str(made), str(tmp_path / "copy")))
    return settings


@pytest.fixture(scope="module")
def in_etcd(tmp_path_factory):
    """The same in etcd."""
    with Mesh(tmp_path_factory.mktemp("etcd"), lease_s=60, heartbeat_s=0.5, store="etcd") as mesh:
        mesh.init()
        mesh.start_control_plane()
        mesh.site("paris", "FR")
        mesh.control_plane.kill()
        yield mesh


def refused(settings: Path, code: int, *said: str) -> None:
    """One error, one hint, no traceback."""
    command = [sys.executable, "-m", "controlplane", "--config", str(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert (done.returncode, [line.partition(":")[0] for line in lines]) == (code, ["error", "hint"]), (
        done.stderr
    )
    for text in said:
        assert text in done.stderr


def database(path: Path) -> str:
    """What is in it, by every byte."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
        return hashlib.sha256("\n".join(opened.iterdump()).encode()).hexdigest()


async def put(settings: Path, key: str, value: bytes) -> None:
    store = await opening.open_store(config.load(settings), "elsewhere")
    await store.commit(expect={}, put={key: value})
    await store.close()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("node/paris/x", b"garbage"),
        ("replica/replica-1", b"{}"),
        ("policy/state", b'{"now": "1"}'),
        ("floor/a/b", b"[]"),
        ("delegation", b"\xff\xfe"),
        ("site/paris", b'{"more": 1}'),
    ],
)
def test_a_row_that_we_did_not_write_is_named(copy, key, value) -> None:
    asyncio.run(put(copy, key, value))
    before = database(copy.parent / "controlplane" / "writ.db")
    refused(copy, 1, f"`{key}`: stored ", "docs/backup.md")
    assert database(copy.parent / "controlplane" / "writ.db") == before


@pytest.mark.parametrize(
    ("name", "content", "code", "said"),
    [
        ("authorities.json", '{"workload_ca": 1}', 1, "authorities.json"),
        ("authorities.json", "", 1, "authorities.json"),
        ("mark.json", "{", 1, "mark.json"),
        ("passphrase", "wrong", 1, "is the passphrase file the one of this directory?"),
    ],
)
def test_a_file_beside_the_store_that_is_not_ours_is_named(copy, name, content, code, said) -> None:
    (copy.parent / "controlplane" / name).write_text(content)
    before = database(copy.parent / "controlplane" / "writ.db")
    command = [sys.executable, "-m", "controlplane", "--config", str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, said in done.stderr, "Traceback" in done.stderr) == (code, True, False), (
        done.stderr
    )
    assert database(copy.parent / "controlplane" / "writ.db") == before


class Nothing(http.server.BaseHTTPRequestHandler):
    """Something that listens where etcd should."""

    def log_message(self, *_: object) -> None:
        """Silent."""


@pytest.fixture
def web_server():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def elsewhere(mesh: Mesh, tmp_path: Path, **changes: str) -> Path:
    """Its settings, with this or that in `[store]` replaced."""
    text = mesh.replicas[0].config.read_text()
    for old, new in changes.values():
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "other.toml").write_text(text)
    return tmp_path / "other.toml"


def test_an_etcd_that_is_away_is_said(in_etcd, tmp_path) -> None:
    settings = elsewhere(in_etcd, tmp_path, at=(in_etcd.etcd.endpoints[0], "127.0.0.1:1"))
    refused(settings, 6, "etcd `127.0.0.1:1` gives no answer", "is it running and reachable")


def test_what_is_no_etcd_is_said(in_etcd, tmp_path, web_server) -> None:
    settings = elsewhere(in_etcd, tmp_path, at=(in_etcd.etcd.endpoints[0], web_server))
    refused(settings, 6, web_server)


def test_another_etcd_holds_no_mesh(in_etcd, tmp_path) -> None:
    with Etcd(tmp_path / "other") as other:
        settings = elsewhere(in_etcd, tmp_path, at=(in_etcd.etcd.endpoints[0], other.endpoints[0]))
        refused(settings, 4, "there is no mesh under", "writ init --store etcd")
        assert not other.control("get", "--prefix", "").strip()


def test_credentials_that_etcd_does_not_want_or_know_are_said(in_etcd, tmp_path) -> None:
    (tmp_path / "password").write_text("wrong")
    with Etcd(tmp_path / "other") as other:
        for command in ("user add root:root-word", "user grant-role root root", "auth enable"):
            other.control(*command.split())
        at = (in_etcd.etcd.endpoints[0], other.endpoints[0])
        refused(elsewhere(in_etcd, tmp_path, at=at), 6, "wants a user", "store.user")
        user = ('kind = "etcd"', f'kind = "etcd"\nuser = "writ"\npassword_file = "{tmp_path}/password"')
        refused(
            elsewhere(in_etcd, tmp_path, at=at, user=user),
            6,
            "refuses our credentials",
            "store.password_file",
        )


def test_a_value_of_somebody_else_under_our_prefix_is_named(in_etcd) -> None:
    key = "/writ/v1/demo.example/data/node/paris/theirs"
    in_etcd.etcd.control("put", key, "theirs")
    before = in_etcd.etcd.control("get", "--prefix", "/writ/v1/demo.example/data/", "-w", "fields").partition(
        '"Key"'
    )[2]
    refused(in_etcd.replicas[0].config, 1, key, "not written by this program")
    after = in_etcd.etcd.control("get", "--prefix", "/writ/v1/demo.example/data/", "-w", "fields").partition(
        '"Key"'
    )[2]
    assert after == before
    in_etcd.etcd.control("del", key)


@pytest.mark.parametrize("word", ["backup-create", "backup-restore", "new-epoch"])
def test_without_the_key_file_nothing_is_backed_up_or_restored(in_etcd, tmp_path, word) -> None:
    kek = in_etcd.replicas[0].state / "kek"
    settings = elsewhere(in_etcd, tmp_path, kek=(str(kek), str(tmp_path / "none")))
    (tmp_path / "file").write_bytes(b"x")
    words = {
        "backup-create": ["--out", tmp_path / "out"],
        "backup-restore": ["--file", tmp_path / "file"],
        "new-epoch": ["--without-agents"],
    }
    command = [sys.executable, "-m", "controlplane", word, "--config", settings, *words[word]]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "store.kek_file" in done.stderr) == (6, True), done.stderr
    assert not (tmp_path / "out").exists()
