"""The real socket under attack: other users, borrowed connections, floods, and a place that others can write."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import workloads
from cryptography import x509
from workloads import CODE, Workload, eventually, names_as, node_of, register, remove, status

from agent.errors import ConfigError
from agent.workload.relay import Relay
from certs import der
from controlplane.cli.errors import CliError

pytestmark = pytest.mark.timeout(120)
NEED_ROOT = "only root can become another user; CI is root"
OTHER, GROUP = 4321, 8765


@pytest.fixture(scope="module")
def mesh():
    with workloads.one_node() as made:
        register(made, "mine")
        register(made, "theirs", f"unix:uid:{OTHER}")
        register(made, "both", f"unix:uid:{OTHER}", f"unix:gid:{GROUP}")
        with Workload(node_of(made).workload_socket) as caller:
            eventually(lambda: caller.names() == ["mine"])
        yield made


@pytest.fixture
def socket_path(mesh) -> Path:
    return node_of(mesh).workload_socket


@pytest.mark.skipif(os.getuid() != 0, reason=NEED_ROOT)
def test_each_user_is_only_itself(mesh, socket_path) -> None:
    assert names_as(socket_path, OTHER, OTHER) == "theirs"
    assert names_as(socket_path, OTHER, GROUP) == "theirs both"
    assert names_as(socket_path, OTHER + 1, GROUP) == "PERMISSION_DENIED"
    assert names_as(socket_path, OTHER + 1, OTHER + 1) == "PERMISSION_DENIED"


def test_nobody_reaches_the_server_within_but_through_the_door(mesh) -> None:
    inner = node_of(mesh).state / "workload.sock"
    assert (inner.stat().st_mode & 0o777, inner.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    with Workload(inner) as sneaking:  # root may connect; it is still nobody
        assert status(sneaking.svids) == CODE.PERMISSION_DENIED


def test_a_connection_ends_with_the_process_that_opened_it(mesh, socket_path) -> None:
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
    script += (
        "socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b'x'], [s.fileno()]); sys.stdin.read()"
    )
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", script, str(socket_path), str(theirs.fileno())]
    child = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.PIPE)
    _, (passed,), _, _ = socket.recv_fds(ours, 1, 1)
    borrowed = socket.socket(fileno=passed)
    borrowed.settimeout(20)
    borrowed.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
    assert borrowed.recv(1)  # it is served as long as who connected is there
    child.kill()
    child.wait(20)
    with contextlib.suppress(ConnectionResetError):
        while borrowed.recv(4096):
            pass
    for one in (borrowed, ours, theirs):
        one.close()
    child.stdin.close()


def test_a_flood_of_connections_leaves_others_their_own(mesh, socket_path) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(600):
            one = stack.enter_context(socket.socket(socket.AF_UNIX))
            with contextlib.suppress(BlockingIOError):
                one.setblocking(True)
                one.connect(str(socket_path))
        if os.getuid() == 0:
            assert names_as(socket_path, OTHER, OTHER) == "theirs"
    with Workload(socket_path) as caller:
        assert eventually(lambda: caller.names() == ["mine"])


def test_what_is_no_http2_is_hung_up_on(mesh, socket_path) -> None:
    for junk in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4096, os.urandom(4096)):
        with socket.socket(socket.AF_UNIX) as one:
            one.settimeout(20)
            one.connect(str(socket_path))
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                one.sendall(junk)
                while one.recv(4096):
                    pass
    with Workload(socket_path) as caller:
        assert caller.names() == ["mine"]


def test_a_place_that_others_can_write_is_not_served(tmp_path) -> None:
    for mode in (0o777, 0o775):
        place = tmp_path / f"{mode:o}"
        place.mkdir()
        place.chmod(mode)
        with pytest.raises(ConfigError, match="written by others"):
            Relay(place / "w.sock", tmp_path / "inner").bind()


def test_a_socket_that_answers_is_left_to_whoever_serves_it(mesh, socket_path, tmp_path) -> None:
    before = socket_path.stat().st_ino
    with pytest.raises(ConfigError, match="another process serves"):
        Relay(socket_path, tmp_path / "inner").bind()
    assert socket_path.stat().st_ino == before


def test_a_socket_left_behind_is_replaced(tmp_path) -> None:
    path = tmp_path / "w.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with Relay(path, tmp_path / "inner").bind() as made:
        made.listen()
        assert path.stat().st_mode & 0o777 == 0o666


def test_a_registration_that_cannot_be_meant_changes_nothing(mesh, socket_path) -> None:
    bad = [
        ("web", ()), ("Web", (workloads.NOBODY,)), ("", (workloads.NOBODY,)), ("a/b", (workloads.NOBODY,)),
        ("x" * 64, (workloads.NOBODY,)), ("web", ("unix:uid:-1",)), ("web", ("unix:uid:01",)), ("web", ("unix:uid:",)),
        ("web", ("unix:path:/bin/sh",)), ("web", ("unix:sha256:00",)), ("web", ("UNIX:uid:1",)), ("web", (" unix:uid:1",)),
        ("web", ("unix:uid:1\n",)), ("web", ("k8s:pod-uid:x",)), ("web", tuple(f"unix:uid:{n}" for n in range(9))),
    ]  # fmt: skip
    with Workload(socket_path) as caller:
        for name, selectors in bad:
            with pytest.raises(CliError):
                request = workloads.admin_pb2.Workload(
                    node=workloads.NODE, site=workloads.SITE, name=name, selectors=selectors
                )
                mesh.call("RegisterWorkload", request)
        with pytest.raises(CliError, match="no node"):
            mesh.call(
                "RegisterWorkload",
                workloads.admin_pb2.Workload(
                    node="nobody", site="paris", name="web", selectors=[workloads.ME]
                ),
            )
        assert caller.names() == ["mine"]


def serial(caller: Workload) -> int:
    return x509.load_der_x509_certificate(der.split(caller.svids()[0].x509_svid)[0]).serial_number


def test_an_agent_that_comes_back_alone_gives_what_it_gave(mesh, socket_path) -> None:
    """The control plane is frozen: registrations and certificates are on disk, and nobody is given another's."""
    node = node_of(mesh)
    with Workload(socket_path) as caller:
        before = serial(caller)
    mesh.control_plane.child.send_signal(signal.SIGSTOP)
    try:
        node.agent.kill()
        node.agent.start()
        node.agent.ports()
        with Workload(socket_path) as caller:
            eventually(lambda: serial(caller) == before)
            assert status(caller.tokens, "api") == CODE.UNAVAILABLE
        if os.getuid() == 0:
            assert names_as(socket_path, OTHER + 1, OTHER + 1) == "PERMISSION_DENIED"
    finally:
        mesh.control_plane.child.send_signal(signal.SIGCONT)


def test_a_key_on_disk_that_was_tampered_with_is_replaced(mesh, socket_path) -> None:
    node = node_of(mesh)
    kept = node.state / "workloads"
    assert {path.stat().st_mode & 0o777 for path in kept.iterdir()} == {0o600}
    with Workload(socket_path) as caller:
        before = eventually(lambda: serial(caller))
    node.agent.kill()
    theirs = json.loads((kept / "theirs.json").read_text())
    ours = json.loads((kept / "mine.json").read_text())
    for wrong in ({**ours, "chain": theirs["chain"]}, theirs, {**ours, "chain": []}, {"key": 1}, []):
        (kept / "mine.json").write_text(json.dumps(wrong))
        node.agent.start()
        node.agent.ports()
        with Workload(socket_path) as caller:
            assert eventually(lambda caller=caller: caller.names()) == ["mine"]
            assert serial(caller) != before
        node.agent.kill()
    node.agent.start()
    node.agent.ports()


def test_what_is_removed_leaves_no_key_behind(mesh, socket_path) -> None:
    kept = node_of(mesh).state / "workloads"
    register(mesh, "brief", workloads.NOBODY)
    eventually((kept / "brief.json").exists)
    remove(mesh, "brief")
    eventually(lambda: not (kept / "brief.json").exists())


def test_after_the_lease_nobody_is_given_anything_and_open_streams_wait() -> None:
    with workloads.one_node(lease_max_s=3) as other:
        register(other, "web")
        with Workload(node_of(other).workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
            stream = caller.stream()
            first = next(stream)
            other.control_plane.kill()
            eventually(lambda: status(caller.bundles) == CODE.UNAVAILABLE)
            other.start_control_plane()
            eventually(lambda: caller.names() == ["web"])
            register(other, "more")
            assert [svid.spiffe_id for svid in next(stream).svids] == [
                first.svids[0].spiffe_id,
                f"{workloads.ID}/more",
            ]
