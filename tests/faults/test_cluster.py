"""Replicas on three members of etcd, when members die, stand still, are cut off or forget: no split, nothing lost."""

import secrets
import signal
import threading
import time
from pathlib import Path

import grpc
import pytest
from barenode import CODE, Node, renewed, until
from faultproxy import DOWN, FaultProxy
from faults import cluster as clusters
from faults.cases import case
from faults.cluster import Cluster, ready, serial

from certs import keys
from controlplane import model
from controlplane.model import DutyRow
from controlplane.services import rows

pytestmark = pytest.mark.timeout(180)
AWAY = {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED}
NODES, EACH = 6, 12


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with clusters.running(tmp_path_factory.mktemp("cluster")) as made:
        yield made


class Renewer(threading.Thread):
    """Renews one node again and again, at any replica, each time until it is answered."""

    def __init__(self, cluster: Cluster, node: Node, done: threading.Event) -> None:
        super().__init__(daemon=True)
        self._cluster, self._node, self._done = cluster, node, done
        self.serials: list[str] = [serial(node.chain)]
        self.refused: list[object] = []

    def run(self) -> None:
        for number in range(10_000):
            if self._done.is_set() and number >= EACH:
                return
            key, idempotency = keys.generate_p256(), secrets.token_urlsafe(20)
            chain = self._answered(key, idempotency)
            if chain is None:
                return
            self._node.key, self._node.chain = key, chain
            self.serials.append(serial(chain))

    def _answered(self, key, idempotency: str):
        for attempt in range(200):
            replica = self._cluster.mesh.replicas[attempt % 2]
            answer = self._node.renew(replica, key, idempotency, 5)
            if isinstance(answer, tuple):
                return answer
            if answer not in AWAY:
                self.refused.append(answer)
                return None
        return None


@case(11, "the leader of etcd killed under load", "no acknowledged certificate lost, none made twice")
def test_every_certificate_that_was_handed_out_is_logged_once(cluster, tmp_path, saw) -> None:
    nodes = [Node(cluster.mesh, f"load-{number}", tmp_path) for number in range(NODES)]
    for node in nodes:
        node.key, _, node.chain = renewed(node, cluster.second)
    done = threading.Event()
    renewers = [Renewer(cluster, node, done) for node in nodes]
    for one in renewers:
        one.start()
    until(lambda: all(len(one.serials) > 2 for one in renewers))
    leader = cluster.mesh.etcd.leader()
    leader.kill()
    done.set()
    for one in renewers:
        one.join(90)
        assert not one.is_alive()
    cluster.mesh.etcd.start(leader)
    handed_out = [name for one in renewers for name in one.serials]
    assert [one.refused for one in renewers] == [[]] * NODES
    assert len(handed_out) == len(set(handed_out))
    assert set(handed_out) <= cluster.logged("load-")
    saw(f"{len(handed_out)} handed out, all logged")


@case(12, "etcd stands still, then goes on", "not ready and no issuance meanwhile; no stale read decides")
def test_a_store_that_stands_still_makes_replicas_mute_and_nothing_else(cluster, tmp_path) -> None:
    node = Node(cluster.mesh, "still", tmp_path)
    until(lambda: ready(cluster.first) and ready(cluster.second))
    members = cluster.mesh.etcd.members[:2]
    for member in members:
        member.kill(signal.SIGSTOP)
    until(lambda: not ready(cluster.first) and not ready(cluster.second))
    for replica in cluster.mesh.replicas:
        assert node.renew(replica, keys.generate_p256(), "s" * 20) in AWAY
    for member in members:
        member.resume()
    until(lambda: ready(cluster.first) and ready(cluster.second))
    _, _, chain = renewed(node, cluster.second)
    assert serial(chain) in cluster.logged("still")


@case(12, "etcd stands still, then goes on", "not ready and no issuance meanwhile; no stale read decides")
def test_a_leader_that_wakes_up_in_the_past_lets_nobody_in(cluster, tmp_path) -> None:
    node = Node(cluster.mesh, "past", tmp_path)
    node.key, _, node.chain = renewed(node, cluster.second)
    leader = cluster.mesh.etcd.leader()
    leader.kill(signal.SIGSTOP)
    until(lambda: _revoked(cluster, "past"))
    leader.resume()
    for _ in range(20):
        for replica in cluster.mesh.replicas:
            answer = node.renew(replica, keys.generate_p256(), secrets.token_urlsafe(20))
            assert answer in {CODE.PERMISSION_DENIED, *AWAY}


def _revoked(cluster: Cluster, node: str) -> bool:
    try:
        cluster.revoke_at(cluster.first, node)
    except Exception:  # noqa: BLE001 - no leader yet: asked again
        return False
    return True


@case(13, "one replica cut off from etcd", "it issues nothing, the others go on, no split issuance")
def test_a_replica_that_is_cut_off_issues_nothing_and_nothing_twice(cluster, tmp_path, saw) -> None:
    node = Node(cluster.mesh, "split", tmp_path)
    node.key, _, node.chain = renewed(node, cluster.second)
    before = cluster.logged("split")
    key, idempotency = keys.generate_p256(), secrets.token_urlsafe(20)
    cluster.cut()
    assert node.renew(cluster.second, key, idempotency) in AWAY
    chain = node.renew(cluster.first, key, idempotency)
    cluster.heal()
    until(lambda: ready(cluster.second))
    assert cluster.logged("split") - before == {serial(chain)}
    saw("1 request, 1 certificate")


@case(
    14, "a replica paused past its duty, then resumed", "its writes fail, nothing decided before is released"
)
def test_who_held_a_duty_and_slept_holds_it_no_more(cluster, saw) -> None:
    until(lambda: _duty(cluster) is not None)
    held = _duty(cluster)
    asleep = next(one for one in cluster.mesh.replicas if one.name == held.holder)
    asleep.process.child.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + 60
    while _duty(cluster).holder == held.holder:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    asleep.process.child.send_signal(signal.SIGCONT)
    taken = _duty(cluster)
    until(lambda: ready(asleep))
    until(lambda: _duty(cluster).count > taken.count + 1)
    assert _duty(cluster).holder == taken.holder
    saw(f"{held.holder} slept, {taken.holder} went on")


def _duty(cluster: Cluster) -> DutyRow | None:
    found = cluster.rows(rows.duty_key("housekeeping"))
    return model.load(DutyRow, found[0].value) if found else None


@case(
    14, "a replica paused past its duty, then resumed", "its writes fail, nothing decided before is released"
)
def test_what_a_sleeper_had_decided_is_decided_anew(cluster, tmp_path) -> None:
    node = Node(cluster.mesh, "asleep", tmp_path)
    process = cluster.second.process
    node.key, _, node.chain = renewed(node, cluster.second)
    before = cluster.logged("asleep")
    process.kill()
    process.environment["WRIT_FAILPOINT"] = "issue.prepared:stop"
    process.start()
    process.ports()
    answers: list = []
    asking = threading.Thread(
        target=lambda: answers.append(node.renew(cluster.second, keys.generate_p256(), "z" * 20, 60))
    )
    asking.start()
    until(lambda: _state(process.child.pid) == "T")
    cluster.revoke_at(cluster.first, "asleep")
    process.child.send_signal(signal.SIGCONT)
    asking.join(60)
    assert answers == [CODE.PERMISSION_DENIED]
    assert cluster.logged("asleep") == before
    process.kill()
    del process.environment["WRIT_FAILPOINT"]
    process.start()
    process.ports()


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@case(15, "history compacted while a replica was cut off", "it lists again; a revocation is not lost")
def test_a_revocation_in_history_that_is_gone_ends_the_session(cluster, tmp_path) -> None:
    node = Node(cluster.mesh, "compacted", tmp_path)
    stream = node.listen(cluster.second)
    assert stream.next_beat(10)
    cluster.cut()
    cluster.revoke_at(cluster.first, "compacted")
    revision = max(item.revision for item in cluster.rows(""))
    cluster.mesh.etcd.control("compact", str(revision))
    cluster.heal()
    assert stream.ended.wait(30)
    assert stream.code is CODE.PERMISSION_DENIED
    answer = node.renew(cluster.second, keys.generate_p256(), "k" * 20)
    assert answer is CODE.PERMISSION_DENIED


@case(
    25, "answers of a replica are lost, requests arrive", "retries get one certificate: no flood of serials"
)
def test_a_node_that_hears_nothing_is_issued_one_certificate(cluster, tmp_path, saw) -> None:
    node = Node(cluster.mesh, "deaf", tmp_path)
    before = cluster.logged("deaf")
    key, idempotency = keys.generate_p256(), secrets.token_urlsafe(20)
    with FaultProxy(cluster.first.api) as proxy, node.channel(proxy.address) as open_:
        _established(node, open_)
        proxy.cut(DOWN)
        for _ in range(3):
            assert node.ask(open_, key, idempotency, 2) in AWAY
        proxy.heal()
        first = node.renew(proxy.address, key, idempotency)
        again = node.renew(cluster.first, key, idempotency)
    assert first == again
    assert cluster.logged("deaf") - before == {serial(first)}
    saw("5 requests, 1 certificate")


def _established(node: Node, channel) -> None:
    """The handshake is done before anything is lost."""
    grpc.channel_ready_future(channel).result(10)
