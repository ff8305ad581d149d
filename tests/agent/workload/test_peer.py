"""Who is at the other end: real processes on real sockets, and those that try to be somebody else."""

import os
import select
import socket
import subprocess
import sys

import pytest

from agent.workload import peer

UID = "5f1a9d34-9b1e-4a57-8d28-0f7a3c1b2d4e"
ESCAPED = UID.replace("-", "_")
OTHER = UID.replace("5", "6")


@pytest.fixture
def listening(tmp_path):
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "s"))
        made.listen()
        yield made


@pytest.fixture
def held():
    """Sockets that a test's own process connected."""
    made: list[socket.socket] = []
    yield made
    for one in made:
        one.close()


def attested(listening: socket.socket, connect) -> peer.Caller:
    connect(listening.getsockname())
    accepted, _ = listening.accept()
    with accepted:
        return peer.attest(accepted)


def connected(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    return made


def test_a_process_is_its_uid_and_gid(listening, held) -> None:
    found = attested(listening, lambda path: held.append(connected(path)))
    assert found.pid == os.getpid()
    assert found.selectors == {f"unix:uid:{os.getuid()}", f"unix:gid:{os.getgid()}"}
    assert found.alive
    peer.close(found)


def test_a_connection_that_is_handed_on_is_still_that_of_who_connected(listening) -> None:
    """The process that connected ends; another goes on with the connection, under a pid that may be given out again."""
    ours, theirs = socket.socketpair()
    script = (
        "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "socket.send_fds(socket.socket(fileno=int(sys.argv[2])), [b'x'], [s.fileno()])"
    )
    command = [sys.executable, "-c", script, listening.getsockname(), str(theirs.fileno())]
    child = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    accepted, _ = listening.accept()
    _, passed, _, _ = socket.recv_fds(ours, 1, 1)
    found = peer.attest(accepted)
    assert found.pid == child.pid
    child.wait(20)
    assert passed
    assert not found.alive
    for descriptor in (*passed, accepted.detach(), ours.detach(), theirs.detach()):
        os.close(descriptor)
    peer.close(found)


def test_who_has_ended_before_we_look_has_nothing_from_its_pid(listening) -> None:
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])"
    command = [sys.executable, "-c", script, listening.getsockname()]
    found = attested(listening, lambda _: subprocess.run(command, check=True, timeout=20))
    assert not any(one.startswith("k8s:") for one in found.selectors)
    assert found.pidfd < 0 or not found.alive
    peer.close(found)


def test_without_pidfds_nothing_hangs_on_the_pid(listening, held, monkeypatch) -> None:
    monkeypatch.setattr(peer, "SO_PEERPIDFD", 9999)  # as on a kernel before 6.5
    monkeypatch.setattr(peer, "_pod_selectors", lambda *_: pytest.fail("the pid was read"))
    found = attested(listening, lambda path: held.append(connected(path)))
    assert found.pidfd == -1
    assert found.selectors == {f"unix:uid:{os.getuid()}", f"unix:gid:{os.getgid()}"}


def test_an_id_that_is_not_mapped_here_is_no_selector(listening, held, monkeypatch, tmp_path) -> None:
    """Every user of a foreign namespace shows as the overflow id: registered, it would be all of them."""
    overflow = tmp_path / "overflow"
    overflow.write_text(f"{os.getuid()}\n")
    monkeypatch.setitem(peer.OVERFLOW, "uid", overflow)
    found = attested(listening, lambda path: held.append(connected(path)))
    assert f"unix:uid:{os.getuid()}" not in found.selectors
    peer.close(found)


@pytest.mark.parametrize(
    "path",
    [
        f"/kubepods/burstable/pod{UID}/0123abcd",
        f"/kubepods/besteffort/pod{UID}/0123abcd",
        f"/kubepods/pod{UID}",
        f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{ESCAPED}.slice/cri-containerd-0123.scope",
        f"/kubepods.slice/kubepods-pod{ESCAPED}.slice/crio-0123.scope",
        f"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{ESCAPED}.slice/x",
        f"/kubepods/pod{UID}/0123/kubepods/pod{OTHER}/0123",  # what a container makes below itself is not believed
        f"/kubepods/pod{UID}/pod{OTHER}",
    ],
)
def test_the_pod_is_the_first_on_the_path(path: str) -> None:
    assert peer.pod_of(path) == UID


@pytest.mark.parametrize(
    "path",
    [
        "/", "", "/user.slice/user-1000.slice",
        f"/user.slice/kubepods/pod{UID}/x",  # a user's own group with a borrowed name
        f"/system.slice/kubepods.slice/kubepods-pod{ESCAPED}.slice/x",
        f"/../kubepods/pod{UID}/x", f"/kubepods/../pod{UID}", f"/kubepods/x/pod{UID}",
        f"/kubepods/pod{UID}x/y", f"/kubepods/burstable/pod{UID[:-1]}/y", f"kubepods/pod{UID}/x", f"/kubepodsx/pod{UID}/x",
    ],
)  # fmt: skip
def test_no_pod_is_named_elsewhere(path: str) -> None:
    assert peer.pod_of(path) == ""


def test_a_pidfd_tells_of_an_end_at_once(listening) -> None:
    script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); sys.stdin.read()"
    command = [sys.executable, "-c", script, listening.getsockname()]
    child = subprocess.Popen(command, stdin=subprocess.PIPE)
    accepted, _ = listening.accept()
    found = peer.attest(accepted)
    assert (found.pid, found.alive) == (child.pid, True)
    child.kill()
    child.wait(20)
    assert select.select([found.pidfd], [], [], 20)[0]
    assert not found.alive
    accepted.close()
    peer.close(found)
    child.stdin.close()
