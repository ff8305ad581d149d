"""Authorities replaced below a mesh at work: by hand, tainted, and while somebody was away. Nobody asks twice."""

import base64
import json
import threading
import time

import mesh as small
import pytest
from commands import writ
from cryptography import x509
from mesh import CALLEE, CALLER, TREATMENT, ask, callee, caller

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls

pytestmark = [pytest.mark.timeout(300), pytest.mark.slow]


def eventually(check, timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


class Traffic:
    """Requests without pause and without a retry, each by a client of its own; what was not allowed is kept."""

    def __init__(self, mesh) -> None:
        self._mesh, self._stop = mesh, threading.Event()
        self.asked, self.failed = 0, []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                answer = ask(self._mesh)
            except Exception as exc:  # noqa: BLE001 - whatever it is, it is a failed request
                answer = repr(exc)
            self.asked += 1
            if answer != "allowed":
                self.failed.append(answer)

    def more(self, count: int = 10) -> None:
        """Until so many more were asked."""
        wanted = self.asked + count
        eventually(lambda: self.asked >= wanted)


def shown(mesh, *words: str) -> list[dict]:
    done = writ("authority", *words, "-o", "json", "--yes", config=mesh.context_file)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def active(mesh, kind: str) -> str:
    (found,) = [
        one["key_id"] for one in shown(mesh, "list") if (one["kind"], one["state"]) == (kind, "active")
    ]
    return found


def issuer(node) -> bytes:
    """Who signed the certificate that an agent holds."""
    chain = json.loads((node.state / "identity.json").read_text())["chain"]
    return x509.load_der_x509_certificate(base64.b64decode(chain[0])).issuer.public_bytes()


def renew(mesh, *names: str) -> None:
    for name in names:
        node, _, site = name.partition(".")
        mesh.call("RenewNode", admin_pb2.GetNodeRequest(node=node, site=site))


@pytest.fixture
def mesh(tmp_path):
    made = small.start(tmp_path, svid_s=150)
    yield made
    made.stop()


def test_a_node_ca_is_replaced_under_traffic_without_one_failed_request(mesh) -> None:
    before, first = active(mesh, "node"), issuer(caller(mesh))
    stream = calls.start_stream(caller(mesh), CALLEE, TREATMENT, pause_s=0.02)
    with Traffic(mesh) as traffic:
        traffic.more()
        (made,) = shown(mesh, "prepare", "node")
        assert made["state"] == "prepared"
        eventually(
            lambda: writ("authority", "activate", made["key_id"], config=mesh.context_file).returncode == 0
        )
        traffic.more()
        renew(mesh, CALLER)
        eventually(lambda: issuer(caller(mesh)) != first)
        traffic.more()  # one end by the new CA, the other by the old one
        renew(mesh, CALLEE)
        eventually(lambda: issuer(callee(mesh)) == issuer(caller(mesh)))
        traffic.more()
        assert (
            writ("authority", "retire", before, "--force", "--yes", config=mesh.context_file).returncode == 0
        )
        mesh.wait_enforced()
        traffic.more(20)
    assert traffic.failed == []
    assert traffic.asked > 60
    assert not stream.ended.is_set()
    stream.close()


def test_a_leaf_of_a_retired_ca_is_refused_by_peers_and_by_the_control_plane(mesh, tmp_path) -> None:
    old = tmp_path / "old.json"
    old.write_bytes((caller(mesh).state / "identity.json").read_bytes())
    before = active(mesh, "node")
    (made,) = shown(mesh, "prepare", "node")
    eventually(
        lambda: writ("authority", "activate", made["key_id"], config=mesh.context_file).returncode == 0
    )
    first = issuer(caller(mesh))
    renew(mesh, CALLER, CALLEE)
    eventually(lambda: first not in {issuer(caller(mesh)), issuer(callee(mesh))})
    mesh.wait_enforced()
    assert calls.bypass(old, callee(mesh), TREATMENT).code == ""  # old, and still believed
    assert writ("authority", "retire", before, "--force", "--yes", config=mesh.context_file).returncode == 0
    mesh.wait_enforced()
    assert calls.bypass(old, callee(mesh), TREATMENT).code == calls.REFUSED


def test_what_a_tainted_ca_signed_is_replaced_by_itself_under_traffic(mesh) -> None:
    stolen, first = active(mesh, "node"), issuer(caller(mesh))
    seen = json.loads(
        writ("authority", "taint", stolen, "--dry-run", "-o", "json", config=mesh.context_file).stdout
    )
    assert (sorted(seen["nodes"]), seen["dry_run"]) == (sorted([CALLER, CALLEE]), True)
    assert active(mesh, "node") == stolen
    with Traffic(mesh) as traffic:
        traffic.more()
        assert writ("authority", "taint", stolen, "--yes", config=mesh.context_file).returncode == 0
        eventually(lambda: first not in {issuer(caller(mesh)), issuer(callee(mesh))}, 90)
        eventually(lambda: stolen not in {one["key_id"] for one in shown(mesh, "list")}, 60)
        mesh.wait_enforced()
        traffic.more()
    assert traffic.failed == []
    assert active(mesh, "node") != stolen


def test_an_agent_that_was_away_while_the_control_planes_ca_was_replaced_heals_alone(tmp_path) -> None:
    mesh = small.start(tmp_path, lease_max_s=3)
    try:
        node = caller(mesh)
        node.agent.kill()
        (made,) = shown(mesh, "prepare", "control-plane")
        eventually(
            lambda: writ("authority", "activate", made["key_id"], config=mesh.context_file).returncode == 0
        )
        mesh.connect()
        node.agent.start()
        node.agent.ports()
        eventually(lambda: mesh.find(CALLER).connected, 60)
        eventually(lambda: ask(mesh) == "allowed", 60)
    finally:
        mesh.stop()
