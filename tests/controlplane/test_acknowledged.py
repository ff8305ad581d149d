"""Rotation waits for the agents of every replica: two real control planes on a real etcd, an agent at one, an operator at the other."""

import queue

import pytest
from barenode import HELLO, Node, until

from controlplane.api.gen import admin_pb2, sync_pb2, sync_pb2_grpc
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=0.5, store="etcd", replicas=2) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


def activated(mesh: Mesh, key_id: str) -> str:
    """What the first replica says to it: a state, or why not."""
    try:
        return mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=key_id)).state
    except CliError as exc:
        return exc.message


@pytest.mark.parametrize("kind", ["node", "jwt"])
def test_an_agent_at_the_second_replica_is_waited_for_at_the_first(mesh, tmp_path, kind) -> None:
    node, says = Node(mesh, f"at-two-{kind}", tmp_path), queue.SimpleQueue()
    says.put(HELLO)
    with node.channel(mesh.replicas[1]) as channel:
        stream = sync_pb2_grpc.SyncStub(channel).Connect(iter(says.get, None))
        assert next(stream)
        until(lambda: mesh.find(f"{node.name}.paris").connected)
        made = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest(kind=kind))
        assert made.replica == "replica-1"
        assert f"not known yet to spiffe://demo.example/fr/paris/{node.name}" in activated(mesh, made.key_id)
        generation = mesh.call("GetStatus", admin_pb2.GetStatusRequest()).generation
        says.put(sync_pb2.SyncRequest(enforcing=sync_pb2.Enforcing(generation=generation)))
        until(lambda: activated(mesh, made.key_id) == "active")
        says.put(None)
        stream.cancel()
