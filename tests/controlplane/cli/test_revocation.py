"""`writ node revoke`, `quarantine` and their ways back, with real agents that confirm, and one that cannot."""

import base64
import json
import os
import signal
import time
from datetime import datetime
from pathlib import Path

import mesh as small
import pytest
from commands import writ
from mesh import CALLEE, CALLER, ask, callee
from workloads import eventually

from certs import envelope
from controlplane.api.gen import overview_pb2
from controlplane.cli.errors import Exit
from policies import documents as d

LEASE_S = 60
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with small.start(tmp_path_factory.mktemp("mesh")) as made:
        yield made


def shown(mesh, *words: str, code: Exit = Exit.OK):
    done = writ("-o", "json", *words, config=mesh.context_file)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def state(mesh, name: str) -> str:
    return str(mesh.find(name).state)


def comes_back(mesh, name: str) -> None:
    mesh.token(name)
    node = mesh.nodes[name]
    node.agent.kill()
    node.agent.start()
    node.agent.ports()
    eventually(lambda: ask(mesh) == "allowed")
    mesh.wait_enforced()


def test_a_dry_run_lists_whom_it_hits_and_changes_nothing(mesh) -> None:
    listed = shown(mesh, "node", "revoke", "--attribute", "group:clinical", "--dry-run")
    assert {one["node"] for one in listed} == {CALLER, CALLEE}
    said = writ("node", "revoke", "--site", "paris", "--dry-run", config=mesh.context_file)
    assert (CALLER in said.stdout, CALLEE in said.stdout) == (True, False)
    assert "nothing was changed" in said.stderr
    assert writ("node", "revoke", "--yes", config=mesh.context_file).returncode == Exit.USAGE
    assert writ("node", "revoke", "--label", "x", "-y", config=mesh.context_file).returncode == Exit.USAGE
    assert (
        writ("node", "revoke", CALLER, config=mesh.context_file).returncode == Exit.FAILED
    )  # nobody said yes
    assert ask(mesh) == "allowed"


def root_sha256(mesh) -> str:
    return mesh.client.overview.GetOverview(overview_pb2.GetOverviewRequest(), timeout=10).root_sha256


def verified(path: Path, sha256: str) -> tuple[int, list[dict]]:
    """As an auditor runs it, who has the file and a digest, and no context."""
    command = ("-o", "json", "audit", "receipts", str(path), "--root-sha256", sha256)
    done = writ(*command, config=path.with_name("none"))
    return done.returncode, json.loads(done.stdout)["agents"] if done.stdout else []


def test_waiting_ends_with_a_signed_receipt_of_every_agent(mesh, tmp_path) -> None:
    kept = tmp_path / "receipts"
    done = shown(
        mesh, "node", "revoke", CALLER, "--reason", "lost", "--wait", "--receipts", str(kept), "--yes"
    )
    assert [one["node"] for one in done["nodes"]] == [CALLER]
    assert done["all_confirmed"] is True
    (agent,) = done["agents"]
    assert (agent["enforced"], agent["spiffe_id"]) == (True, str(mesh.find(CALLEE).spiffe_id))
    receipt = envelope.parse(base64.b64decode(agent["receipt"]), 4096)
    assert receipt.payload_type == d.TYPE_RECEIPT
    said = json.loads(receipt.payload)
    assert (said["node"], said["generation"] >= done["generation"]) == (agent["spiffe_id"], True)
    assert_an_auditor_believes(kept, root_sha256(mesh), agent["spiffe_id"], said["at_ms"])
    assert ask(mesh) == "revoked"
    assert writ("node", "release", CALLER, config=mesh.context_file).returncode == Exit.CONFLICT
    assert writ("node", "unrevoke", CALLER, config=mesh.context_file).returncode == Exit.OK
    comes_back(mesh, CALLER)


def test_a_restarted_control_plane_is_told_again_who_enforces_what(mesh) -> None:
    generation = mesh.call("GetStatus", small.admin_pb2.GetStatusRequest()).generation
    mesh.control_plane.kill()
    mesh.start_control_plane()
    mesh.wait_enforced()
    wanted = small.admin_pb2.WatchEnforcementRequest(generation=generation)
    events = list(mesh.client.stream(mesh.client.stub.WatchEnforcement, wanted, timeout_s=20))
    assert sorted(event.spiffe_id for event in events if event.enforced and event.receipt) == sorted(
        str(mesh.find(name).spiffe_id) for name in (CALLER, CALLEE)
    )


def test_a_quarantined_node_is_refused_by_its_peers_and_refuses_them_but_is_heard(mesh) -> None:
    before = {one.origin: one.size for one in _witnessed(mesh)}
    done = shown(mesh, "node", "quarantine", CALLEE, "--reason", "odd", "--wait", "--yes")
    assert (done["state"], done["all_confirmed"], len(done["agents"])) == ("quarantined", True, 2)
    assert ask(mesh) in {"revoked", "peer_unreachable", "unknown_resource"}
    assert (
        small.calls.bypass(small.caller(mesh).state / "identity.json", callee(mesh), small.TREATMENT).code
        == "revoked"
    )
    own = callee(mesh).state / "identity.json"
    assert small.calls.bypass(own, small.caller(mesh), small.TREATMENT).code == "revoked"
    node = mesh.find(CALLEE)
    assert (node.connected, node.state) == (True, "quarantined")
    assert "quarantined" in writ("status", config=mesh.context_file).stdout
    mesh.call("RenewNode", small.admin_pb2.GetNodeRequest(node="gpu-1", site="berlin"))
    eventually(lambda: mesh.find(CALLEE).serial != node.serial)
    assert state(mesh, CALLEE) == "quarantined"
    eventually(
        lambda: any(one.size > before[one.origin] for one in _witnessed(mesh) if "gpu-1" in one.origin)
    )
    assert writ("token", "create", CALLEE, config=mesh.context_file).returncode == Exit.CONFLICT
    assert shown(mesh, "node", "release", CALLEE)["state"] == "enrolled"
    eventually(lambda: ask(mesh) == "allowed")
    mesh.wait_enforced()


def test_the_stream_of_a_node_that_is_quarantined_ends_and_its_own_sidecar_sends_nothing_more(mesh) -> None:
    stream = small.calls.start_stream(small.caller(mesh), CALLEE, small.TREATMENT)
    assert writ("node", "quarantine", CALLER, "--yes", config=mesh.context_file).returncode == Exit.OK
    assert stream.ended.wait(20)
    eventually(lambda: ask(mesh) == "revoked")
    stolen = small.caller(mesh).state / "identity.json"
    assert small.calls.bypass(stolen, callee(mesh), small.TREATMENT).code == "revoked"
    assert writ("node", "release", CALLER, config=mesh.context_file).returncode == Exit.OK
    eventually(lambda: ask(mesh) == "allowed")
    mesh.wait_enforced()


def _witnessed(mesh):
    return mesh.call("ListWitnessed", small.admin_pb2.ListWitnessedRequest()).logs


def assert_an_auditor_believes(kept: Path, sha256: str, spiffe_id: str, at_ms: int) -> None:
    """The file as it is, and nothing that was changed in it."""
    code, found = verified(kept, sha256)
    assert (code, [(one["spiffe_id"], one["state"]) for one in found]) == (0, [(spiffe_id, "proven")])
    assert found[0]["since_ms"] == at_ms
    document = json.loads(kept.read_text())
    (one,) = document["agents"]
    changed = ({"spiffe_id": f"{spiffe_id}x"}, {"receipt": ""}, {"certificate": "AA=="})
    bent = [{"generation": document["generation"] + 10**6}, {"node_cas": []}, {"agents": [one, one]}]
    bent += [{"agents": [{**one, **change}]} for change in changed]
    assert verified(kept, "00" * 32)[0] == Exit.VERIFICATION
    for changes in bent:
        kept.write_text(json.dumps({**document, **changes}))
        assert verified(kept, sha256)[0] == Exit.VERIFICATION


def test_who_does_not_answer_is_named_with_the_end_of_its_trust_and_the_exit_code_says_so(
    mesh, tmp_path
) -> None:
    pid = callee(mesh).agent.child.pid
    os.kill(pid, signal.SIGSTOP)
    kept, command = tmp_path / "receipts", ("node", "revoke", CALLER, "--wait", "--yes", "--timeout", "3")
    done = shown(mesh, *command, "--receipts", str(kept), code=Exit.FAILED)
    code, found = verified(kept, root_sha256(mesh))
    assert (code, [one["state"] for one in found]) == (Exit.FAILED, ["not confirmed"])
    (agent,) = done["agents"]
    assert (agent["enforced"], agent["after_ms"], done["all_confirmed"]) == (False, None, False)
    until, now = datetime.fromisoformat(agent["trust_until"]).timestamp(), time.time()
    assert now < until <= now + LEASE_S
    assert datetime.fromisoformat(done["certificates_until"]).timestamp() == mesh.find(CALLER).not_after
    said = writ("node", "revoke", CALLER, "--wait", "--yes", "--timeout", "3", config=mesh.context_file)
    assert "not yet" in said.stdout
    assert "1 of 1 agents have not confirmed it" in said.stderr
    os.kill(pid, signal.SIGCONT)
