"""Whole processes, killed and changed: nothing that fails allows, and what comes back heals by itself."""

import base64
import json
import shutil
import signal
import time

import mesh as small
import pytest
from cryptography import x509
from mesh import ATTRIBUTES, CALLEE, CALLER, TREATMENT, ask, callee, caller

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from policies import inventory

pytestmark = [pytest.mark.timeout(180), pytest.mark.faults]


def eventually(check, timeout_s: float = 20.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def settled(mesh) -> bool:
    """Does the caller hold the certificate that the control plane says it has, with nothing pending?"""
    state = caller(mesh).state
    leaf = base64.b64decode(json.loads((state / "identity.json").read_text())["chain"][0])
    held = f"{x509.load_der_x509_certificate(leaf).serial_number:x}"
    return held == mesh.find(CALLER).serial and not (state / "pending.json").exists()


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    made = small.start(tmp_path_factory.mktemp("mesh"))
    yield made
    made.stop()


def test_a_request_is_allowed_and_another_denied(mesh) -> None:
    assert ask(mesh) == "allowed"
    assert ask(mesh, purpose="research") == "no_permit"
    assert ask(mesh, purpose="marketing") == "claim_not_allowed"


def test_an_unknown_peer_is_not_reached(mesh) -> None:
    assert calls.chat(caller(mesh), "nobody.nowhere", TREATMENT).code == "peer_unreachable"


def test_envoy_goes_on_without_its_agent_and_a_new_agent_adopts_it(mesh) -> None:
    node, pid = callee(mesh), callee(mesh).envoy_pid()
    node.agent.kill(signal.SIGKILL)
    assert ask(mesh) == "allowed"
    assert ask(mesh, purpose="research") == "no_permit"
    node.agent.start()
    node.agent.ports()
    mesh.wait_enforced()
    assert node.envoy_pid() == pid
    assert ask(mesh) == "allowed"


def test_an_agent_that_is_asked_to_stop_leaves_envoy_enforcing(mesh) -> None:
    node, pid = callee(mesh), callee(mesh).envoy_pid()
    node.agent.kill(signal.SIGTERM)
    assert (ask(mesh), node.envoy_pid()) == ("allowed", pid)
    node.agent.start()
    node.agent.ports()
    mesh.wait_enforced()


def test_envoy_is_started_again_when_it_dies_on_the_same_ports(mesh) -> None:
    node = callee(mesh)
    before = node.known_ports
    node.kill_envoy(signal.SIGKILL)
    eventually(lambda: node.envoy_pid() != before["envoy"])
    eventually(lambda: ask(mesh) == "allowed")
    assert {k: v for k, v in node.known_ports.items() if k != "envoy"} == {
        k: v for k, v in before.items() if k != "envoy"
    }


def test_narrowing_kills_the_old_certificate_and_the_node_renews_by_itself(mesh, tmp_path) -> None:
    old = tmp_path / "old.json"
    shutil.copy(caller(mesh).state / "identity.json", old)
    assert calls.bypass(old, callee(mesh), TREATMENT).code == ""
    narrower = admin_pb2.Attributes()
    narrower.CopyFrom(ATTRIBUTES)
    narrower.tier = 0  # a join token attests 1
    done = mesh.call("SetNode", admin_pb2.SetNodeRequest(node="app-1", site="paris", attributes=narrower))
    assert (done.narrowed, done.node.epoch) == (True, 2)
    eventually(lambda: calls.bypass(old, callee(mesh), TREATMENT).code == "revoked")
    eventually(lambda: ask(mesh) == "allowed")
    mesh.wait_enforced()


def test_a_restarted_agent_serves_from_disk_while_the_control_plane_is_away(mesh) -> None:
    eventually(lambda: ask(mesh) == "allowed")
    mesh.control_plane.kill()
    assert ask(mesh) == "allowed"
    for node in (callee(mesh), caller(mesh)):
        node.agent.kill()
        node.agent.start()
        node.agent.ports()
    eventually(lambda: ask(mesh) == "allowed")
    assert ask(mesh, purpose="research") == "no_permit"
    mesh.start_control_plane()
    mesh.wait_enforced()


def test_a_node_is_given_what_concerns_it_and_no_more(mesh) -> None:
    other = '@id("elsewhere") permit(principal in Group::"other", action == Action::"chat", resource);'
    nowhere = '@id("nowhere") permit(principal, action, resource is Dataset);'
    mesh.policy(f"{small.POLICY}{other}{nowhere}")
    mesh.wait_enforced()
    said = mesh.call("DescribeBundle", admin_pb2.GetNodeRequest(node="app-1", site="paris"))
    assert [(peer.node, list(peer.policies)) for peer in said.peers] == [
        (CALLEE, ["clinical-inference", "list-models"])
    ]
    assert {rule.policy for rule in said.as_caller} == {"clinical-inference", "list-models"}
    assert not said.as_callee
    assert {one.policy: one.why for one in said.dropped} == {
        "elsewhere": inventory.NOT_CALLER,
        "nowhere": inventory.NOT_SERVED,
    }
    served = mesh.call("DescribeBundle", admin_pb2.GetNodeRequest(node="gpu-1", site="berlin"))
    assert {rule.policy: rule.condition for rule in served.as_callee} == {
        "clinical-inference": 'principal in Group::"clinical" && context.purpose == "treatment"',
        "list-models": 'principal in Group::"clinical"',
        "elsewhere": 'principal in Group::"other"',
    }
    mesh.policy(small.POLICY)


def test_a_stream_ends_when_the_time_for_which_it_was_permitted_is_over(mesh) -> None:
    until = int(time.time()) + 6
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(until))
    mesh.policy(small.POLICY.replace('"treatment"', f'"treatment" && context.now < datetime("{text}")'))
    mesh.wait_enforced()
    stream = calls.start_stream(caller(mesh), CALLEE, TREATMENT)
    assert stream.ended.wait(20)
    assert until <= time.time() < until + 5
    assert ask(mesh) == "no_permit"
    mesh.policy(small.POLICY)
    eventually(lambda: ask(mesh) == "allowed")


def test_a_caller_is_told_apart_by_where_it_calls_from(mesh) -> None:
    said = (
        small.POLICY + '@id("f") forbid(principal, action, resource) when { context.source_ip.isLoopback() };'
    )
    mesh.policy(said)
    mesh.wait_enforced()
    assert ask(mesh) == "forbidden"
    mesh.policy(said.replace(".isLoopback()", '.isInRange(ip("10.0.0.0/8"))'))
    mesh.wait_enforced()
    stream = calls.start_stream(caller(mesh), CALLEE, TREATMENT)
    assert ask(mesh) == "allowed"
    assert not stream.ended.wait(3), "judged again each second, on the address that it came from"
    stream.close()
    mesh.policy(small.POLICY)


def test_a_policy_that_is_replaced_ends_the_streams_it_no_longer_allows(mesh) -> None:
    stream = calls.start_stream(caller(mesh), CALLEE, TREATMENT)
    mesh.policy(small.POLICY.replace('"treatment"', '"research"'))
    assert stream.ended.wait(10)
    eventually(lambda: ask(mesh) == "no_permit")
    assert ask(mesh, purpose="research") == "allowed"
    mesh.policy(small.POLICY)
    eventually(lambda: ask(mesh) == "allowed")


def test_a_revoked_callee_is_not_sent_to(mesh) -> None:
    mesh.revoke(CALLEE)
    eventually(lambda: ask(mesh) in {"revoked", "peer_unreachable", "unknown_resource"})
    node, site = CALLEE.split(".")
    mesh.call("UnrevokeNode", admin_pb2.GetNodeRequest(node=node, site=site))
    mesh.token(CALLEE)
    callee(mesh).agent.kill()
    callee(mesh).agent.start()
    callee(mesh).agent.ports()
    eventually(lambda: ask(mesh) == "allowed")
    mesh.wait_enforced()


def test_a_renewal_asked_for_while_the_agent_is_away_is_not_forgotten(mesh) -> None:
    caller(mesh).agent.kill()
    before = mesh.find(CALLER).serial
    mesh.call("RenewNode", admin_pb2.GetNodeRequest(node="app-1", site="paris"))
    caller(mesh).agent.start()
    eventually(lambda: mesh.find(CALLER).serial != before)
    mesh.wait_enforced()


def test_two_keys_from_one_certificate_lock_the_node(mesh) -> None:
    node, mine = caller(mesh), caller(mesh).state / "identity.json"
    eventually(lambda: settled(mesh))
    stolen = mine.read_bytes()
    mesh.call("RenewNode", admin_pb2.GetNodeRequest(node="app-1", site="paris"))
    eventually(lambda: mine.read_bytes() != stolen and settled(mesh))
    node.agent.kill()
    mine.write_bytes(stolen)
    node.agent.start()
    eventually(lambda: mesh.find(CALLER).state == "locked")  # it is told again to renew that very certificate


def test_nobody_comes_and_the_lease_denies(tmp_path) -> None:
    made = small.start(tmp_path, lease_max_s=3)
    try:
        caller(made).agent.kill()
        assert ask(made) == "allowed"
        eventually(lambda: ask(made) != "allowed")
        assert ask(made) in {"lease_expired", "http 500"}
    finally:
        made.stop()
