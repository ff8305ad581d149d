"""A renewal chain that forks: one of two keys is a copy, nobody can tell which, so both are dead and everybody hears of it."""

import secrets
import threading
from concurrent.futures import ThreadPoolExecutor

import clients
import grpc
import pytest
from clients import Holder, ended, enrolled, renew_expired
from commands import writ

from certs import keys
from controlplane.api.gen import admin_pb2, overview_pb2, revocation_pb2, sync_pb2, sync_pb2_grpc
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit

pytestmark = pytest.mark.timeout(120)
CODE = grpc.StatusCode
HELLO = sync_pb2.SyncRequest(hello=sync_pb2.Hello(ingress_address="127.0.0.1:7443"))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


@pytest.fixture(scope="module")
def stub(mesh, tmp_path_factory):
    _, ca = clients.root_and_ca(mesh, clients.token(mesh, "probe"), tmp_path_factory.mktemp("t") / "token")
    return clients.enrolment(mesh, ca)


def next_of(mesh, holder: Holder) -> Holder | CODE:
    """Whoever holds the next certificate after this one."""
    key = keys.generate_p256()
    reply = holder.renew(mesh, key, secrets.token_hex(10))
    return reply if isinstance(reply, CODE) else Holder(key, tuple(reply.chain))


def requests_until(held: threading.Event):
    yield HELLO
    held.wait(30)


def state(mesh, node: str) -> str:
    return str(mesh.find(f"{node}.paris").state)


def test_two_that_renew_at_the_same_moment_lock_the_node(mesh, stub) -> None:
    holder, start = enrolled(mesh, stub, "race"), threading.Barrier(2)

    def one(_: int) -> Holder | CODE:
        start.wait(10)
        return next_of(mesh, holder)

    with ThreadPoolExecutor(2) as pool:
        replies = list(pool.map(one, range(2)))
    assert [reply for reply in replies if isinstance(reply, CODE)] == [CODE.FAILED_PRECONDITION]
    assert state(mesh, "race") == "locked"


def test_a_fork_is_seen_however_many_renewals_later_and_by_grace(mesh, stub) -> None:
    first = enrolled(mesh, stub, "late")
    assert isinstance(next_of(mesh, next_of(mesh, first)), Holder)
    assert next_of(mesh, first) is CODE.FAILED_PRECONDITION
    assert state(mesh, "late") == "locked"
    slept = ended(mesh, enrolled(mesh, stub, "grace"), "grace", 600)
    assert renew_expired(stub, slept).chain
    assert renew_expired(stub, slept) is CODE.FAILED_PRECONDITION
    assert state(mesh, "grace") == "locked"


def test_both_copies_are_dead_and_the_alarm_is_everywhere(mesh, stub) -> None:
    stolen = enrolled(mesh, stub, "both")
    mine = next_of(mesh, stolen)
    held = threading.Event()
    with mine.channel(mesh) as channel:
        stream = sync_pb2_grpc.SyncStub(channel).Connect(requests_until(held), timeout=30)
        next(stream)
        assert next_of(mesh, stolen) is CODE.FAILED_PRECONDITION
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        held.set()
    assert (caught.value.code(), "locked" in caught.value.details()) == (CODE.PERMISSION_DENIED, True)
    assert {next_of(mesh, one) for one in (mine, stolen)} == {CODE.PERMISSION_DENIED}
    seen = mesh.client.overview.GetOverview(overview_pb2.GetOverviewRequest(), timeout=10)
    assert seen.by_state["locked"] == seen.troubles["locked"]
    checked = writ("check", config=mesh.context_file)
    assert checked.returncode == Exit.FAILED
    assert "are locked: a copied key was seen" in checked.stdout
    assert "writ node unlock" in checked.stdout
    assert "locked" in writ("status", config=mesh.context_file).stdout
    assert "clone_seen" in mesh.control_plane.log.read_text()


def test_a_copy_that_only_listens_is_an_alarm_once_its_node_has_shown_the_next_certificate(
    mesh, stub
) -> None:
    def shown_by(holder: Holder) -> None:
        with holder.channel(mesh) as channel:
            next(sync_pb2_grpc.SyncStub(channel).Connect(iter([HELLO]), timeout=10))

    stolen = enrolled(mesh, stub, "heard")
    shown_by(stolen)
    mine = next_of(mesh, stolen)
    shown_by(stolen)  # it may be the node itself, which has not taken the next one into use yet
    shown_by(mine)
    shown_by(mine)
    assert "older_certificate_used" not in mesh.control_plane.log.read_text()
    shown_by(stolen)
    assert "older_certificate_used" in mesh.control_plane.log.read_text()
    with mine.channel(mesh) as channel:
        stream = sync_pb2_grpc.SyncStub(channel).Connect(
            requests_until(held := threading.Event()), timeout=30
        )
        next(stream)
        assert (
            "its certificate before this one was used 1 times"
            in writ("status", config=mesh.context_file).stdout
        )
        checked = writ("check", config=mesh.context_file).stdout
        assert "have a certificate that somebody else has, too: heard.paris" in checked
        held.set()
    assert state(mesh, "heard") == "enrolled"
    mesh.revoke("heard.paris")
    mesh.call("UnrevokeNode", admin_pb2.GetNodeRequest(node="heard", site="paris"))
    shown_by(enrolled(mesh, stub, "heard"))
    assert "used 1 times" not in writ("status", config=mesh.context_file).stdout


def test_a_token_that_two_have_used_is_an_alarm_and_a_retry_is_none(mesh, stub) -> None:
    text, key = clients.token(mesh, "twice"), keys.generate_p256()

    def alarms() -> int:
        return mesh.control_plane.log.read_text().count("token_used_twice")

    assert clients.ask(stub, text, key).chain == clients.ask(stub, text, key).chain
    assert alarms() == 0
    assert clients.ask(stub, text) is CODE.PERMISSION_DENIED
    assert alarms() == 1


def test_unlocking_takes_a_new_enrolment_and_neither_copy_comes_back(mesh, stub) -> None:
    stolen = enrolled(mesh, stub, "back")
    mine = next_of(mesh, stolen)
    assert next_of(mesh, stolen) is CODE.FAILED_PRECONDITION
    assert writ("token", "create", "back.paris", config=mesh.context_file).returncode == Exit.CONFLICT
    assert writ("node", "unlock", "back.paris", config=mesh.context_file).returncode == Exit.OK
    again = enrolled(mesh, stub, "back")
    assert (state(mesh, "back"), mesh.find("back.paris").epoch) == ("enrolled", 2)
    # Whoever still has a copy can neither be the node nor lock it.
    assert {next_of(mesh, one) for one in (mine, stolen)} == {CODE.PERMISSION_DENIED}
    assert isinstance(next_of(mesh, again), Holder)
    assert state(mesh, "back") == "enrolled"


def test_a_revoked_node_is_not_made_less_by_a_lock_nor_locked_by_a_quarantine(mesh, stub) -> None:
    stolen = enrolled(mesh, stub, "apart")
    asked = revocation_pb2.QuarantineRequest(node="apart", site="paris")
    mesh.client.revocation.Quarantine(asked, timeout=10)
    assert isinstance(next_of(mesh, stolen), Holder)
    assert next_of(mesh, stolen) is CODE.FAILED_PRECONDITION
    assert state(mesh, "apart") == "locked"
    with pytest.raises(grpc.RpcError):
        mesh.client.revocation.Release(revocation_pb2.NodeName(node="apart", site="paris"), timeout=10)
