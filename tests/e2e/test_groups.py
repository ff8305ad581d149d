"""A group is put into another on a running mesh: who is in it gains and loses by that, with the certificate that it has."""

import time

import pytest
from mesh import CALLEE, CALLER, ask, start

from controlplane.api.gen import admin_pb2

pytestmark = pytest.mark.timeout(180)
POLICY = """
@id("hospital") permit (principal in Group::"hospital", action == Action::"chat", resource in ModelGroup::"medicine");
@id("trial") forbid (principal in Group::"trial", action, resource);
"""


def within(mesh, kind: str, name: str, *groups: str) -> None:
    request = admin_pb2.ApplyResourcesRequest()
    for other in (name, *groups):
        request.groups.add(kind=kind, name=other)
    request.groups[0].within.SetInParent()
    request.groups[0].within.groups.extend(groups)
    mesh.call("ApplyResources", request)


def becomes(mesh, expected: str) -> bool:
    """Whether the caller is answered so before long: a bundle is made in the background."""
    deadline = time.monotonic() + 20
    while (answer := ask(mesh)) != expected and time.monotonic() < deadline:
        mesh.wait_enforced(CALLER, CALLEE)
    return answer == expected


def test_a_group_in_a_group_counts_without_a_new_certificate(tmp_path) -> None:
    mesh = start(tmp_path)
    try:
        mesh.policy(POLICY)
        serial = mesh.find(CALLER).serial
        assert ask(mesh) != "allowed"
        within(mesh, "ModelGroup", "clinical", "medicine")
        within(mesh, "Group", "clinical", "ward")
        assert ask(mesh) != "allowed"
        within(mesh, "Group", "ward", "hospital")
        assert becomes(mesh, "allowed")
        within(mesh, "Group", "hospital", "trial")
        assert becomes(mesh, "forbidden")
        within(mesh, "Group", "hospital")
        assert becomes(mesh, "allowed")
        within(mesh, "ModelGroup", "clinical")
        assert becomes(
            mesh, "peer_unreachable"
        )  # no permit reaches anything there: the caller is told of no such peer
        assert mesh.find(CALLER).serial == serial
    finally:
        mesh.stop()
