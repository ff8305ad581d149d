"""Groups in groups on a real control plane: applied whole or not at all, seen by everybody who asks, and never a circle."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane import model
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError, Exit
from controlplane.errors import CorruptError
from controlplane.model import PolicyState
from controlplane.rpc import permissions
from controlplane.services import rows
from policies.hierarchy import MAX_BELOW

pytestmark = pytest.mark.timeout(120)
POLICY = '@id("wards") permit(principal in Group::"hospital", action == Action::"chat", resource in ModelGroup::"clinical");'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("groups"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("berlin", "DE")
        made.policy(POLICY)
        yield made


def declared(*groups: tuple[str, str, list[str] | None], **how: bool) -> admin_pb2.ApplyResourcesRequest:
    request = admin_pb2.ApplyResourcesRequest(**how)
    for kind, name, within in groups:
        made = request.groups.add(kind=kind, name=name)
        if within is not None:
            made.within.groups.extend(within)
            made.within.SetInParent()
    return request


def listed(mesh) -> dict[str, list[str]]:
    found = mesh.call("ListResources", admin_pb2.ListResourcesRequest())
    return {f"{one.kind}/{one.name}": list(one.within.groups) for one in found.groups}


def state(mesh):
    return listed(mesh), mesh.call("ListPolicies", admin_pb2.ListPoliciesRequest())


BASE = (("Group", "hospital", None), ("Group", "clinic", ["hospital"]), ("Group", "ward", ["clinic"]))
WRONG = {
    "in itself": ([("Group", "a", ["a"])], "Group `a` is in itself"),
    "a cycle in one call": (
        [("Group", "a", ["b"]), ("Group", "b", ["a"])],
        "a cycle: Group `a` is in itself through `b`",
    ),
    "a cycle with what is there": (
        [("Group", "hospital", ["ward"])],
        "a cycle: Group `clinic` is in itself through `hospital`, `ward`",
    ),
    "an unknown group": ([("Group", "a", ["nowhere"])], "Group `a`: there is no Group `nowhere`"),
    "a group of another kind": ([("ModelGroup", "a", ["hospital"])], "there is no ModelGroup `hospital`"),
    "declared twice": (
        [("Group", "a", ["hospital"]), ("Group", "a", ["clinic"])],
        "Group `a` is declared twice, in different groups",
    ),
    "too many below one": (
        [("Group", f"w{number}", ["ward"]) for number in range(MAX_BELOW + 1)],
        f"below it, at most {MAX_BELOW}",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_cannot_be_is_one_error_and_changes_nothing(mesh, what: str) -> None:
    mesh.call("ApplyResources", declared(*BASE))
    before = state(mesh)
    groups, message = WRONG[what]
    with pytest.raises(CliError) as caught:
        mesh.call("ApplyResources", declared(*groups))
    assert message in str(caught.value)
    assert state(mesh) == before


def test_what_a_group_is_in_stays_until_it_is_said_anew(mesh) -> None:
    mesh.call("ApplyResources", declared(*BASE))
    assert listed(mesh)["Group/ward"] == ["clinic"]
    done = mesh.call("ApplyResources", declared(("Group", "ward", None)))
    assert (done.changed, listed(mesh)["Group/ward"]) == (0, ["clinic"])
    done = mesh.call("ApplyResources", declared(("Group", "ward", []), dry_run=True))
    assert (done.changed, listed(mesh)["Group/ward"]) == (1, ["clinic"])
    done = mesh.call("ApplyResources", declared(("Group", "ward", [])))
    assert (done.changed, listed(mesh)["Group/ward"]) == (1, [])


def test_two_calls_cannot_close_a_circle_between_them(mesh) -> None:
    ends = [("Group", "left", []), ("Group", "right", [])]
    halves = [declared(("Group", "left", ["right"])), declared(("Group", "right", ["left"]))]

    def applied(request) -> bool:
        try:
            mesh.call("ApplyResources", request)
        except CliError as exc:
            refused.append(exc.code)
            return False
        return True

    refused: list[Exit] = []
    for _ in range(10):
        mesh.call("ApplyResources", declared(*ends))
        with ThreadPoolExecutor(2) as both:
            assert sum(both.map(applied, halves)) <= 1
        found = listed(mesh)
        assert not (found["Group/left"] and found["Group/right"])
    assert refused
    assert set(refused) <= {Exit.CONFLICT, Exit.USAGE}


def test_a_policy_that_could_not_be_enforced_with_new_groups_keeps_them_out(mesh) -> None:
    asked = " || ".join(['principal in Group::"wide"'] * 90)
    mesh.policy(f'@id("wide") permit(principal, action == Action::"chat", resource) when {{ {asked} }};')
    many = [("Group", f"g{number}", ["wide"]) for number in range(MAX_BELOW)]
    mesh.call("ApplyResources", declared(("Group", "wide", None)))
    before = state(mesh)
    with pytest.raises(CliError, match="with these groups policy `wide` of version"):
        mesh.call("ApplyResources", declared(*many))
    assert state(mesh) == before
    mesh.policy(POLICY)
    mesh.call("ApplyResources", declared(*many))
    request = admin_pb2.ApplyPolicyRequest()
    request.source.files.add(
        name="wide.cedar",
        text=f'@id("wide") permit(principal, action == Action::"chat", resource) when {{ {asked} }};',
    )
    (finding,) = mesh.call("ApplyPolicy", request).findings
    assert (finding.code, finding.file, finding.line) == ("W-COMPLEX", "wide.cedar", 1)
    mesh.call("ApplyResources", declared(*((kind, name, []) for kind, name, _ in many)))


# --- who may, and what is stored -------------------------------------------------------------------------------------


def test_who_is_bound_to_a_site_puts_no_group_into_another() -> None:
    row = permissions.resources
    assert row(declared(("Group", "a", None))) is None
    assert row(declared(("Group", "a", []))) == ()
    here = declared(("Group", "a", ["b"]))
    here.resources.add(kind="Model", name="m", node="n", site="berlin")
    assert row(here) == ()


def test_rows_without_nesting_are_what_they_were_and_with_it_an_older_version_refuses_them() -> None:
    assert model.dump(PolicyState(now=3)) == b'{"now":3}'
    stored = model.dump(PolicyState(now=3, nested={"Group/a": ["b"]}))
    assert rows.groups(model.load(PolicyState, stored)).above("Group", ["a"]) == {"a", "b"}


@pytest.mark.parametrize("nested", [{"Group/a": ["a"]}, {"Group/a": [["b"]]}, {"Group/a": 3}])
def test_a_stored_hierarchy_that_cannot_be_is_no_hierarchy_at_all(nested) -> None:
    with pytest.raises(CorruptError):
        rows.groups(PolicyState(nested=nested))
