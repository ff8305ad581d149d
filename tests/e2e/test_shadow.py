"""A shadow is evaluated by both ends, recorded beside what was enforced, and enforced by nobody until it is promoted."""

import json
import os
import subprocess
import sys
import time

import mesh as small
import pytest
from mesh import CALLEE, CALLER, POLICY, ask, callee, caller

from audit import record, tiles
from controlplane.api.gen import admin_pb2
from controlplane.cli import evidence
from controlplane.cli.errors import CliError, Exit

pytestmark = [pytest.mark.timeout(240)]
RESEARCH = POLICY.replace('context.purpose == "treatment"', 'context.purpose == "research"')
"""Denies what is allowed, and allows what is denied."""


def eventually(check, timeout_s: float = 30.0):
    deadline = time.monotonic() + timeout_s
    while not (found := check()):
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)
    return found


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    made = small.start(tmp_path_factory.mktemp("mesh"))
    yield made
    made.stop()


def writ(mesh, *words: object):
    done = subprocess.run(
        [sys.executable, "-c", "from controlplane.cli.app import run; run()", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "WRIT_CONFIG": str(mesh.context_file)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(mesh, name: str) -> dict:
    nodes = json.loads(writ(mesh, "policy", "status", "-o", "json"))["nodes"]
    return next(node for node in nodes if node["node"] == name)


def applied(mesh, text: str, **how: object):
    request = admin_pb2.ApplyPolicyRequest(**how)
    request.source.files.add(name="policy.cedar", text=text)
    done = mesh.call("ApplyPolicy", request)
    assert not [finding for finding in done.findings if finding.severity == "error"]
    return done.version


def looked_at(mesh, version: int) -> None:
    """Until both agents have been given the shadow: requests before that are not asked about."""
    for name in (CALLER, CALLEE):
        eventually(lambda name=name: status(mesh, name)["shadow"] == version)


def records(node, request: str) -> list[record.DecisionRecord]:
    """What a node has recorded of a request, once it is in a checkpoint."""
    found = [record.load(entry) for entry in evidence.entries(node.evidence)]
    return [item for item in found if isinstance(item, record.DecisionRecord) and item.request_id == request]


def test_a_shadow_is_recorded_by_both_ends_and_enforced_by_none(mesh) -> None:
    version = applied(mesh, RESEARCH, shadow=True)
    looked_at(mesh, version)
    allowed = small.calls.chat(caller(mesh), CALLEE, small.TREATMENT)
    assert allowed.code == ""
    assert ask(mesh, purpose="research") == "no_permit"
    request = allowed.record.partition("/")[0]
    for node in (caller(mesh), callee(mesh)):
        [item] = eventually(lambda node=node: records(node, request))
        assert (item.allowed, item.policy) == (True, "clinical-inference")
        assert (item.shadow, item.shadow_version) == ("no_permit", version)
    counted = eventually(lambda: (s := status(mesh, CALLER))["decided"] >= 2 and s)
    assert (counted["enforced"], counted["shadow"]) == (version - 1, version)
    assert (counted["newly_allowed"], counted["newly_denied"]) == (1, 1)
    assert {(flow["allowed"], flow["policy"], flow["count"]) for flow in counted["flows"]} == {
        (True, "clinical-inference", 1),
        (False, "", 1),
    }


def test_evidence_with_and_without_a_shadow_verifies(mesh) -> None:
    keys = mesh.directory / "keys"
    keys.write_text(writ(mesh, "audit", "keys"))
    eventually((caller(mesh).evidence / tiles.COSIGNED).exists)
    writ(mesh, "audit", "verify", "--keys", keys, caller(mesh).evidence, callee(mesh).evidence)


def test_a_shadow_that_is_promoted_is_enforced_and_can_be_rolled_back(mesh) -> None:
    writ(mesh, "policy", "promote")
    mesh.wait_enforced()
    assert (ask(mesh), ask(mesh, purpose="research")) == ("no_permit", "allowed")
    writ(mesh, "policy", "rollback")
    mesh.wait_enforced()
    assert (ask(mesh), ask(mesh, purpose="research")) == ("allowed", "no_permit")
    history = json.loads(writ(mesh, "policy", "history", "-o", "json"))
    assert [(s["shadow"], s["note"]) for s in history["sets"]] == [
        (False, ""),
        (True, ""),
        (False, "promotion of 2"),
        (False, "rollback to 1"),
    ]
    assert (history["policy_now"], history["shadow"]) == (4, 0)
    eventually(lambda: status(mesh, CALLER)["shadow"] == 0)


def test_a_shadow_that_is_withdrawn_is_asked_no_more(mesh) -> None:
    version = applied(mesh, RESEARCH, shadow=True)
    looked_at(mesh, version)
    writ(mesh, "policy", "withdraw")
    eventually(lambda: status(mesh, CALLER)["shadow"] == 0)
    done = small.calls.chat(caller(mesh), CALLEE, small.TREATMENT)
    [item] = eventually(lambda: records(caller(mesh), done.record.partition("/")[0]))
    assert (item.shadow, item.shadow_version) == ("", 0)


def test_a_newer_policy_does_not_put_the_shadow_below_it_in_force(mesh) -> None:
    """Its number is now at or below `policy_now`: whoever took numbers for permission would enforce it."""
    shadow = applied(mesh, RESEARCH, shadow=True)
    looked_at(mesh, shadow)
    newer = applied(mesh, POLICY + "\n// again")
    assert newer > shadow
    mesh.wait_enforced()
    assert (ask(mesh), ask(mesh, purpose="research")) == ("allowed", "no_permit")
    assert status(mesh, CALLER)["enforced"] == newer


def test_a_policy_for_one_site_changes_that_site_alone(mesh) -> None:
    """Berlin's sidecar denies what Paris still would send; promoted, both do."""
    applied(mesh, RESEARCH, sites=["berlin"])
    mesh.wait_enforced()
    assert ask(mesh) == "no_permit"
    done = small.calls.chat(caller(mesh), CALLEE, small.TREATMENT)
    request = done.record.partition("/")[0]
    assert [eventually(lambda n=n: records(n, request))[0].allowed for n in (caller(mesh), callee(mesh))] == [
        True,
        False,
    ]
    assert ask(mesh, purpose="research") == "no_permit", "and Paris does not send what only Berlin permits"
    writ(mesh, "policy", "promote")
    mesh.wait_enforced()
    assert ask(mesh, purpose="research") == "allowed"


@pytest.mark.parametrize(
    ("method", "message", "code"),
    [
        ("ApplyPolicy", admin_pb2.ApplyPolicyRequest(sites=["atlantis"]), Exit.NOT_FOUND),
        ("RollbackPolicy", admin_pb2.RollbackPolicyRequest(version=999), Exit.NOT_FOUND),
        ("PromotePolicy", admin_pb2.PromotePolicyRequest(), Exit.CONFLICT),
        ("WithdrawPolicy", admin_pb2.WithdrawPolicyRequest(), Exit.CONFLICT),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(mesh, method, message, code) -> None:
    if method == "ApplyPolicy":
        message.source.files.add(name="p.cedar", text=POLICY)
    before = mesh.call("ListPolicies", admin_pb2.ListPoliciesRequest())
    with pytest.raises(CliError) as caught:
        mesh.call(method, message)
    assert caught.value.code is code
    assert mesh.call("ListPolicies", admin_pb2.ListPoliciesRequest()) == before
