"""`writ agent files`: always a pair, never readable by the wrong ones, told again until it is heard, gone when revoked."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import workloads
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from workloads import eventually, node_of, register

from agent.errors import ConfigError
from agent.workload import hook
from agent.workload.fileset import FileSet, Modes
from certs.keys import spki_sha256
from controlplane.api.gen import admin_pb2

ONE = {"key.pem": b"key 1", "chain.pem": b"chain 1", "bundle.pem": b"bundle"}
TWO = {"key.pem": b"key 2", "chain.pem": b"chain 2", "bundle.pem": b"bundle"}


def read(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in ONE}


def test_a_set_is_written_whole_and_the_same_set_changes_nothing(tmp_path) -> None:
    files = FileSet(tmp_path / "out", Modes())
    assert not files.write(ONE)  # nobody is told of the first
    assert read(tmp_path / "out") == ONE
    assert not files.write(ONE)
    assert files.write(TWO)
    assert read(tmp_path / "out") == TWO


def test_modes_hold_whatever_the_umask(tmp_path) -> None:
    before = os.umask(0)
    try:
        FileSet(tmp_path / "out", Modes(key=0o640, others=0o444)).write(ONE)
    finally:
        os.umask(before)
    modes = {name: (tmp_path / "out" / name).stat().st_mode & 0o777 for name in ONE}
    assert modes == {"key.pem": 0o640, "chain.pem": 0o444, "bundle.pem": 0o444}


def test_who_reads_while_it_changes_sees_one_moment(tmp_path) -> None:
    """A reader that resolves `current` once finds a pair in it, however often it is replaced."""
    directory, torn, stop = tmp_path / "out", [], threading.Event()
    files = FileSet(directory, Modes())
    files.write(ONE)

    def reader() -> None:
        while not stop.is_set():
            now = (directory / "current").resolve()
            try:
                pair = (now / "key.pem").read_bytes()[-1:], (now / "chain.pem").read_bytes()[-1:]
            except FileNotFoundError:
                continue  # two sets later: it must resolve again
            if pair[0] != pair[1]:
                torn.append(pair)

    threads = [threading.Thread(target=reader) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(300):
        files.write(TWO if number % 2 else ONE)
    stop.set()
    for thread in threads:
        thread.join()
    assert torn == []
    assert len(list(directory.glob(".set-*"))) == 2


def test_files_of_somebody_else_are_left_alone(tmp_path) -> None:
    (tmp_path / "key.pem").write_text("mine")
    with pytest.raises(ConfigError, match="somebody else"):
        FileSet(tmp_path, Modes()).write(ONE)
    (tmp_path / "other").write_text("stays")
    FileSet(tmp_path, Modes()).remove()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key.pem", "other"]
    assert (tmp_path / "key.pem").read_text() == "mine"


def test_a_removed_set_leaves_nothing(tmp_path) -> None:
    files = FileSet(tmp_path / "out", Modes())
    files.write(ONE)
    files.remove()
    assert list((tmp_path / "out").iterdir()) == []


async def test_a_hook_that_fails_is_tried_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(hook, "FIRST_RETRY_S", 0.01)
    script = tmp_path / "hook"
    script.write_text(f"#!/bin/sh\necho x >> {tmp_path}/runs\ntest $(wc -l < {tmp_path}/runs) -ge 3\n")
    script.chmod(0o755)
    await hook.make(str(script), "", None).run()
    assert (tmp_path / "runs").read_text() == "x\n" * 3


async def test_a_command_goes_through_no_shell(tmp_path) -> None:
    await hook.make(f"touch '{tmp_path}/a; rm -rf x' $(id)", "", None).run()
    assert (tmp_path / "a; rm -rf x").exists()
    Path("$(id)").unlink()


def test_a_signal_goes_to_one_process_and_to_no_group(tmp_path) -> None:
    for text in ("0", "-1", "1", "", "x"):
        (tmp_path / "pid").write_text(text)
        with pytest.raises((hook.HookError, ValueError)):
            hook._pid(tmp_path / "pid")
    for wrong in (("", "HUP", None), ("", "NOPE", tmp_path / "pid"), ("", "", tmp_path / "pid")):
        with pytest.raises(ConfigError):
            hook.make(*wrong)


@pytest.fixture
def mesh():
    with workloads.one_node() as made:
        register(made, "web")
        with workloads.Workload(node_of(made).workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
        yield made


def command(mesh, directory: Path, *more: str) -> list[str]:
    writ = [str(Path(sys.executable).with_name("writ")), "agent", "files"]
    where = ["--dir", str(directory), "--socket", f"unix://{node_of(mesh).workload_socket}"]
    return [*writ, *where, *more]


def serial(directory: Path) -> int:
    return x509.load_pem_x509_certificate((directory / "chain.pem").read_bytes()).serial_number


def test_one_set_is_written_and_key_and_chain_are_a_pair(mesh, tmp_path) -> None:
    subprocess.run(command(mesh, tmp_path, "--once"), check=True, timeout=60)
    chain = x509.load_pem_x509_certificates((tmp_path / "chain.pem").read_bytes())
    roots = x509.load_pem_x509_certificates((tmp_path / "bundle.pem").read_bytes())
    key = serialization.load_pem_private_key((tmp_path / "key.pem").read_bytes(), None)
    assert spki_sha256(key.public_key()) == spki_sha256(chain[0].public_key())
    chain[0].verify_directly_issued_by(chain[1])
    chain[1].verify_directly_issued_by(roots[0])
    assert (tmp_path / "key.pem").stat().st_mode & 0o777 == 0o600


def test_what_cannot_be_meant_ends_with_one_error_and_no_file(mesh, tmp_path) -> None:
    for more in (
        ["--once", "--workload", "nobody"],
        ["--mode", "9"],
        ["--signal", "HUP"],
        ["--socket", "http://x"],
    ):
        done = subprocess.run(
            command(mesh, tmp_path / "out", *more), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode in {1, 2}
        assert done.stderr.count("error: ") == 1
        assert not (tmp_path / "out").exists()


def test_a_renewal_is_written_and_told_and_a_revocation_removes_it(mesh, tmp_path) -> None:
    directory = tmp_path / "out"
    told = tmp_path / "told"
    keeping = subprocess.Popen(command(mesh, directory, "--workload", "web", "--exec", f"touch {told}"))
    try:
        eventually((directory / "key.pem").exists)
        before = serial(directory)
        assert not told.exists()
        request = admin_pb2.Workload(
            node=workloads.NODE, site=workloads.SITE, name="web", selectors=[workloads.ME]
        )
        request.attributes.CopyFrom(admin_pb2.Attributes(groups=["clinical"], class_ceiling=1))
        mesh.call("RegisterWorkload", request)  # other attributes: another certificate
        eventually(told.exists)
        assert serial(directory) != before
        mesh.revoke(f"{workloads.NODE}.{workloads.SITE}")
        eventually(lambda: list(directory.iterdir()) == [])  # link by link, then the sets
    finally:
        keeping.send_signal(signal.SIGTERM)
        assert keeping.wait(20) == 0
    assert not psutil.pid_exists(keeping.pid)
