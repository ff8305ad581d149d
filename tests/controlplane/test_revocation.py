"""Whom a revocation hits, what it leaves behind, and who is still heard: a real control plane, bare clients."""

import contextlib

import clients
import grpc
import pytest
from attacks import ending
from attacks.plane import Plane, running

from certs import envelope, keys
from certs.template import key_identifier
from certs.verify import load
from controlplane.api.gen import admin_pb2, revocation_pb2, sync_pb2_grpc
from controlplane.services.identity import nodes as registry
from policies import payloads

pytestmark = pytest.mark.timeout(120)
CODE = grpc.StatusCode


@pytest.fixture(scope="module")
def plane(tmp_path_factory):
    with running(tmp_path_factory.mktemp("revocation")) as made:
        yield made


def revoke(plane: Plane, *, dry_run: bool = False, reason: str = "", **selector):
    """{node: state} of those that were meant, or the status."""
    chosen = revocation_pb2.NodeSelector(**selector)
    request = revocation_pb2.RevokeRequest(selector=chosen, dry_run=dry_run, reason=reason)
    try:
        done = plane.mesh.client.revocation.Revoke(request, timeout=20)
    except grpc.RpcError as exc:
        return exc.code()
    return {node.node.partition(".")[0]: node.state for node in done.nodes}


def site(plane: Plane, name: str, **labels: str) -> None:
    plane.mesh.call("AddSite", admin_pb2.Site(name=name, jurisdiction="DE", labels=labels))


def invited(plane: Plane, node: str, where: str, **attributes) -> str:
    request = admin_pb2.CreateTokenRequest(node=node, site=where)
    request.attributes.CopyFrom(admin_pb2.Attributes(**attributes))
    return plane.mesh.call("CreateToken", request).token


def test_a_selector_hits_by_site_label_and_attribute_all_of_which_must_hold(plane) -> None:
    site(plane, "north", region="north")
    site(plane, "south", region="south")
    invited(plane, "a", "north", groups=["clinical"], class_ceiling=2)
    invited(plane, "b", "north", groups=["lab"])
    invited(plane, "c", "south", groups=["clinical"])
    cases = (
        ({"site": "north"}, {"a", "b"}),
        ({"labels": {"region": "south"}}, {"c"}),
        ({"attributes": ["group:clinical"], "site": "north"}, {"a"}),
        ({"attributes": ["group:clinical", "class-ceiling:2"]}, {"a"}),
        ({"attributes": ["group:clinical"]}, {"a", "c"}),
        ({"nodes": ["b.north", "c.south"]}, {"b", "c"}),
    )
    for selector, wanted in cases:
        assert revoke(plane, dry_run=True, **selector) == dict.fromkeys(wanted, "invited")
    assert revoke(plane, site="north") == {"a": "revoked", "b": "revoked"}
    assert revoke(plane, dry_run=True, nodes=["c.south"]) == {"c": "invited"}


def test_what_says_nothing_or_two_things_hits_nobody(plane) -> None:
    name, _ = plane.enrolled()
    refused: list[tuple[dict, CODE]] = [
        ({}, CODE.INVALID_ARGUMENT),
        ({"nodes": [f"{name}.paris"], "site": "paris"}, CODE.INVALID_ARGUMENT),
        ({"key": "a" * 64, "serial": "b"}, CODE.INVALID_ARGUMENT),
        ({"key": "A" * 64}, CODE.INVALID_ARGUMENT),
        ({"key": "a" * 63}, CODE.INVALID_ARGUMENT),
        ({"serial": "0x1"}, CODE.INVALID_ARGUMENT),
        ({"serial": "abc"}, CODE.NOT_FOUND),
        ({"authority": "nobody"}, CODE.NOT_FOUND),
        ({"site": "nowhere"}, CODE.NOT_FOUND),
        ({"labels": {"region": "nowhere"}}, CODE.NOT_FOUND),
        ({"attributes": ["group:nobody"]}, CODE.NOT_FOUND),
        ({"nodes": [f"{name}.paris", "missing.paris"]}, CODE.NOT_FOUND),
    ]
    for selector, code in refused:
        assert revoke(plane, **selector) is code, selector
    assert revoke(plane, nodes=[f"{name}.paris"], reason="two\nlines") is CODE.INVALID_ARGUMENT
    assert plane.state(name) == "enrolled"


def test_a_serial_and_a_key_hit_the_node_that_holds_them_also_after_it_has_renewed(plane) -> None:
    first, holder = plane.enrolled()
    serial = f"{load(holder.chain[0]).serial_number:x}"
    assert not isinstance(holder.renew(plane.mesh, keys.generate_p256(), "r" * 20), CODE)
    assert revoke(plane, serial=serial) == {first: "revoked"}
    second, holder = plane.enrolled()
    assert not isinstance(holder.renew(plane.mesh, keys.generate_p256(), "r" * 20), CODE)
    assert revoke(plane, key=keys.spki_sha256(holder.key.public_key()).hex()) == {second: "revoked"}


def test_what_is_dead_already_does_not_hit_the_node_that_came_after_it(plane) -> None:
    name, stolen = plane.enrolled()
    serial = f"{load(stolen.chain[0]).serial_number:x}"
    plane.again(name)
    assert revoke(plane, serial=serial) is CODE.NOT_FOUND
    assert revoke(plane, key=keys.spki_sha256(stolen.key.public_key()).hex()) == {}
    assert plane.state(name) == "enrolled"


def test_an_authority_hits_every_node_it_certified(tmp_path) -> None:
    with running(tmp_path) as alone:
        first, holder = alone.enrolled()
        second, _ = alone.enrolled()
        alone.mesh.call("CreateToken", admin_pb2.CreateTokenRequest(node="never", site="paris"))
        ca = key_identifier(load(holder.chain[1]).public_key()).hex()
        for named in (ca, "replica-1"):
            meant = revoke(alone, dry_run=True, authority=named)
            assert meant == dict.fromkeys((first, second), "enrolled")
        root = key_identifier(load(alone.root).public_key()).hex()
        assert revoke(alone, authority=root) is CODE.NOT_FOUND
        assert revoke(alone, authority=ca) == dict.fromkeys((first, second), "revoked")


def test_many_are_ended_in_few_commits_and_all_of_them(plane) -> None:
    site(plane, "large")
    names = [f"n-{number:03}" for number in range(2 * registry.TOGETHER + 3)]
    for name in names:
        invited(plane, name, "large")
    request = revocation_pb2.RevokeRequest(selector=revocation_pb2.NodeSelector(site="large"))
    done = plane.mesh.client.revocation.Revoke(request, timeout=30)
    assert [node.node for node in done.nodes] == [f"{name}.large" for name in names]
    assert {node.state for node in done.nodes} == {"revoked"}
    assert len({node.generation for node in done.nodes}) == 3
    assert done.generation == max(node.generation for node in done.nodes)


@pytest.mark.parametrize(
    "attack",
    [
        ending.its_holder,
        ending.gets_policy,
        ending.gets_workload_identities,
        ending.a_node_keeps_others_apart,
    ],
)
def test_it_is_stopped(plane, attack) -> None:
    assert not attack(plane)


def test_a_quarantined_node_is_heard_and_counts_again_once_released(plane) -> None:
    name, holder = plane.enrolled()
    ask = revocation_pb2.QuarantineRequest(node=name, site="paris", reason="odd traffic")
    assert plane.mesh.client.revocation.Quarantine(ask, timeout=10).node.state == "quarantined"
    with holder.channel(plane.mesh) as channel:
        assert next(sync_pb2_grpc.SyncStub(channel).Connect(iter([ending.HELLO]), timeout=10)).trust_document
    back = revocation_pb2.NodeName(node=name, site="paris")
    done = plane.mesh.client.revocation.Release(back, timeout=10)
    assert (done.node.state, done.node.epoch) == ("enrolled", 2)
    shown = plane.mesh.find(f"{name}.paris")
    assert (shown.floor, shown.state) == (2, "enrolled")  # what was issued before stays dead
    assert not isinstance(holder.renew(plane.mesh, keys.generate_p256(), "r" * 20), CODE)


def test_each_way_back_is_for_its_own_state(plane) -> None:
    name, holder = plane.enrolled()
    calls = plane.mesh.client.revocation
    node = revocation_pb2.NodeName(node=name, site="paris")

    def refused(call, request) -> bool:
        with contextlib.suppress(grpc.RpcError):
            call(request, timeout=10)
            return False
        return True

    assert refused(calls.Release, node)
    assert refused(calls.Unlock, node)
    assert not isinstance(holder.renew(plane.mesh, keys.generate_p256(), "r" * 20), CODE)
    assert isinstance(holder.renew(plane.mesh, keys.generate_p256(), "s" * 20), CODE)
    assert plane.state(name) == "locked"
    assert refused(calls.Release, node)
    assert refused(calls.Quarantine, revocation_pb2.QuarantineRequest(node=name, site="paris"))
    assert calls.Unlock(node, timeout=10).node.state == "invited"
    assert not isinstance(plane.enrolled(name)[1].renew(plane.mesh, keys.generate_p256(), "t" * 20), CODE)


def test_enrolling_again_raises_the_epoch_and_what_was_before_stays_dead(plane) -> None:
    name, stolen = plane.enrolled()
    plane.again(name)
    shown = plane.mesh.find(f"{name}.paris")
    assert (shown.epoch, shown.floor, shown.state) == (2, 2, "enrolled")
    assert stolen.renew(plane.mesh, keys.generate_p256(), "u" * 20) is CODE.PERMISSION_DENIED


def test_revocations_outlive_a_restart(plane) -> None:
    name, holder = plane.enrolled()
    spki = keys.spki_sha256(holder.key.public_key()).hex()
    assert revoke(plane, key=spki) == {name: "revoked"}
    plane.mesh.control_plane.kill()
    plane.mesh.start_control_plane()
    plane.stub = clients.enrolment(plane.mesh, plane.ca)
    assert plane.state(name) == "revoked"
    assert plane.enrols(plane.token(plane.name()), holder.key) is None


def test_what_was_revoked_before_it_enrolled_counts_once_it_has(plane) -> None:
    name = plane.name()
    plane.token(name)
    assert revoke(plane, nodes=[f"{name}.paris"]) == {name: "revoked"}
    plane.mesh.call("UnrevokeNode", admin_pb2.GetNodeRequest(node=name, site="paris"))
    _, holder = plane.enrolled(name)
    with holder.channel(plane.mesh) as channel:
        said = next(sync_pb2_grpc.SyncStub(channel).Connect(iter([ending.HELLO]), timeout=10))
    floors = payloads.load_trust(envelope.parse(said.trust_document, 1 << 20).payload).floors
    assert floors[str(plane.mesh.find(f"{name}.paris").spiffe_id)] == 1
