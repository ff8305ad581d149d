"""Two operators before access is widened: a real control plane, real operators, and whoever would rather do it alone."""

import dataclasses
import itertools
import json

import grpc
import pytest
from commands import writ
from mesh import start
from operators import Person, add
from pki import NOW

from agent import identity
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import admin_pb2
from controlplane.cli import evidence
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit
from controlplane.errors import BusyError, ControlPlaneError, CorruptError, PreconditionError
from controlplane.services.admin import approvals
from controlplane.services.admin.approvals import DONE, REJECTED, Approvals
from controlplane.services.admin.grants import Grant
from controlplane.store.memory import MemoryStore

pytestmark = pytest.mark.timeout(90)
DENIED, PRECONDITION = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION
NAMES = (f"n-{number}" for number in itertools.count())
CLINICAL = admin_pb2.Attributes(groups=["clinical"], purposes=["treatment"], class_ceiling=3)
OPEN = '@id("all") permit (principal, action, resource);'
LESS = '@id("some") permit (principal in Group::"clinical", action == Action::"chat", resource);'


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("approvals"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        made.site("berlin", "DE")
        yield made


@pytest.fixture(scope="module")
def people(mesh):
    """Two who govern, two who run nodes, and the setting on."""
    by = mesh.client.stub
    found = {
        "bea": add(by, mesh, "bea", "admin"),
        "carl": add(by, mesh, "carl", "operator", "paris"),
        "dora": add(by, mesh, "dora", "operator", "berlin"),
        "emil": add(by, mesh, "emil", "auditor"),
    }
    mesh.call("SetApproval", admin_pb2.SetApprovalRequest(required=True))
    return found


@pytest.fixture
def admin(mesh, people):
    """The first operator, who asks."""
    return lambda method, request: _call(mesh.client.stub, method, request)


def _call(stub, method: str, request):
    try:
        return getattr(stub, method)(request, timeout=30)
    except grpc.RpcError as exc:
        return exc


def waiting(answer) -> str:
    """The id of the approval that a call waits for."""
    assert isinstance(answer, grpc.RpcError), answer
    assert answer.code() is PRECONDITION
    assert answer.details().startswith("waiting for approval `"), answer.details()
    return answer.details().split("`")[1]


def approve(person: Person, id_: str):
    return person("ApproveCall", admin_pb2.ApproveCallRequest(id=id_))


def token(site: str = "paris") -> admin_pb2.CreateTokenRequest:
    return admin_pb2.CreateTokenRequest(node=next(NAMES), site=site)


def policy(text: str, **more) -> admin_pb2.ApplyPolicyRequest:
    request = admin_pb2.ApplyPolicyRequest(**more)
    request.source.files.add(name="p.cedar", text=text)
    return request


def nodes(mesh: Mesh) -> set[str]:
    return {node.node for node in mesh.call("ListNodes", admin_pb2.ListNodesRequest()).nodes}


# --- what waits, and what does not --------------------------------------------------------------------------------------


def test_another_operator_does_exactly_what_was_asked_for(mesh, people, admin) -> None:
    request = token()
    id_ = waiting(admin("CreateToken", request))
    assert request.node not in nodes(mesh)
    assert waiting(admin("CreateToken", request)) == id_  # it waits once
    shown = people["bea"]("ListApprovals", admin_pb2.ListApprovalsRequest(id=id_)).approvals[0]
    assert (shown.method, shown.by, shown.state) == ("writ.v1.Admin/CreateToken", "admin", "waiting")
    assert admin_pb2.CreateTokenRequest.FromString(shown.request) == request
    done = approve(people["bea"], id_)
    assert admin_pb2.CreateTokenResponse.FromString(done.reply).token.startswith("writ1.")
    assert (done.approval.state, done.approval.decided_by) == ("done", "bea")
    assert request.node in nodes(mesh)
    assert approve(people["bea"], id_) is PRECONDITION  # once


def test_what_narrows_or_reads_never_waits(mesh, people, admin) -> None:
    request = token()
    approve(people["bea"], waiting(admin("CreateToken", request)))
    name = {"node": request.node, "site": "paris"}
    wider = admin_pb2.SetNodeRequest(**name, attributes=CLINICAL)
    approve(people["bea"], waiting(admin("SetNode", wider)))
    narrower = admin_pb2.Attributes(groups=["clinical"], class_ceiling=1)
    assert (
        admin("SetNode", admin_pb2.SetNodeRequest(**name, attributes=narrower)).node.attributes.class_ceiling
        == 1
    )
    assert admin("ApplyPolicy", policy(OPEN, dry_run=True)).version
    assert admin("ApplyPolicy", policy(OPEN, shadow=True)).version
    assert admin("WithdrawPolicy", admin_pb2.WithdrawPolicyRequest()).version
    assert admin("RevokeNode", admin_pb2.RevokeNodeRequest(**name)).generation
    waiting(admin("UnrevokeNode", admin_pb2.GetNodeRequest(**name)))


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("RegisterWorkload", admin_pb2.Workload(node="x", site="paris", name="w", selectors=["unix:uid:1"])),
        ("ApplyResources", admin_pb2.ApplyResourcesRequest(groups=[admin_pb2.Group(kind="ModelGroup", name="g")])),
        ("AddOperator", admin_pb2.AddOperatorRequest(
            operator=admin_pb2.Operator(name="late", role="auditor"), csr=make_csr(keys.generate_p256()))),
        ("SetOperator", admin_pb2.Operator(name="emil", role="ci", hours=1)),
        ("SetOperator", admin_pb2.Operator(name="carl", role="operator", hours=1)),
        ("RenewOperator", admin_pb2.RenewOperatorRequest(name="bea", csr=make_csr(keys.generate_p256()))),
        ("SetApproval", admin_pb2.SetApprovalRequest(required=False)),
    ],
)  # fmt: skip
def test_whatever_may_widen_access_waits(admin, method, request_) -> None:
    waiting(admin(method, request_))


def test_less_for_an_operator_and_ones_own_renewal_do_not_wait(mesh, people, admin) -> None:
    fewer = admin_pb2.Operator(name="emil", role="auditor", sites=["paris", "berlin"], hours=1)
    assert list(admin("SetOperator", fewer).sites) == ["berlin", "paris"]
    renewal = admin_pb2.RenewOperatorRequest(csr=make_csr(keys.generate_p256()))
    assert people["dora"]("RenewOperator", renewal).operator.name == "dora"


def test_a_policy_waits_if_anybody_gains_by_it(tmp_path) -> None:
    """Held against real enrolled nodes: what they gain is computed, not guessed."""
    made = start(tmp_path)
    try:
        bea = add(made.client.stub, made, "bea", "admin")
        made.call("SetApproval", admin_pb2.SetApprovalRequest(required=True))
        stub = made.client.stub
        id_ = waiting(_call(stub, "ApplyPolicy", policy(OPEN)))
        assert made.call("ListPolicies", admin_pb2.ListPoliciesRequest()).policy_now == 1
        assert approve(bea, id_).approval.state == "done"
        status = made.call("ListPolicies", admin_pb2.ListPoliciesRequest())
        assert (status.policy_now, status.sets[-1].applied_by) == (2, "admin")
        assert _call(stub, "ApplyPolicy", policy(LESS)).version == 3  # narrower: at once
        waiting(_call(stub, "RollbackPolicy", admin_pb2.RollbackPolicyRequest(version=2)))
        assert _call(stub, "ApplyPolicy", policy(OPEN, shadow=True)).version == 4
        waiting(_call(stub, "PromotePolicy", admin_pb2.PromotePolicyRequest()))
        bad = _call(stub, "ApplyPolicy", policy("permit (principal"))
        assert any(finding.severity == "error" for finding in bad.findings)  # refused as ever: nothing waits
    finally:
        made.stop()


# --- who may agree ------------------------------------------------------------------------------------------------------


def test_nobody_approves_alone_or_more_than_he_may(mesh, people, admin) -> None:
    asked = token("paris")
    id_ = waiting(_call(people["carl"].stub, "CreateToken", asked))
    assert approve(people["carl"], id_) is DENIED  # himself
    assert approve(people["dora"], id_) is DENIED  # of another site
    assert approve(people["emil"], id_) is DENIED  # who only reads
    assert people["dora"]("ListApprovals", admin_pb2.ListApprovalsRequest(id=id_)) is DENIED
    assert people["dora"]("RejectCall", admin_pb2.RejectCallRequest(id=id_)) is DENIED
    governing = waiting(admin("SetApproval", admin_pb2.SetApprovalRequest(required=False)))
    assert approve(people["carl"], governing) is DENIED  # who does not govern
    assert asked.node not in nodes(mesh)
    assert approve(people["bea"], id_).approval.by == "carl"
    assert asked.node in nodes(mesh)


def test_what_is_rejected_or_taken_back_is_never_done(mesh, people, admin) -> None:
    for by in (people["bea"], people["carl"]):  # another, and himself
        asked = token()
        id_ = waiting(_call(people["carl"].stub, "CreateToken", asked))
        assert by("RejectCall", admin_pb2.RejectCallRequest(id=id_)).state == "rejected"
        assert approve(people["bea"], id_) is PRECONDITION
        assert asked.node not in nodes(mesh)


def test_who_asked_must_still_be_permitted_when_it_is_done(mesh, people, admin) -> None:
    asked = token()
    id_ = waiting(_call(people["carl"].stub, "CreateToken", asked))
    assert admin(
        "SetOperator", admin_pb2.Operator(name="carl", role="operator", sites=["paris"], hours=1)
    ).name
    approve(
        people["bea"],
        waiting(
            admin("SetOperator", admin_pb2.Operator(name="carl", role="auditor", sites=["paris"], hours=1))
        ),
    )
    assert approve(people["bea"], id_) is DENIED
    assert asked.node not in nodes(mesh)
    approve(
        people["bea"],
        waiting(
            admin("SetOperator", admin_pb2.Operator(name="carl", role="operator", sites=["paris"], hours=1))
        ),
    )
    gone = add_approved(mesh, people, admin, "gone")
    left = token()
    id_ = waiting(_call(gone.stub, "CreateToken", left))
    assert admin("RemoveOperator", admin_pb2.RemoveOperatorRequest(name="gone")) is not None
    assert approve(people["bea"], id_) is DENIED
    assert left.node not in nodes(mesh)


def add_approved(mesh, people, admin, name: str) -> Person:
    key = keys.generate_p256()
    wanted = admin_pb2.AddOperatorRequest(
        operator=admin_pb2.Operator(name=name, role="operator", hours=1), csr=make_csr(key)
    )
    done = approve(people["bea"], waiting(admin("AddOperator", wanted)))
    return Person(mesh, name, key, tuple(admin_pb2.OperatorGrant.FromString(done.reply).chain))


@pytest.mark.parametrize("id_", ["", "nothing", "../operator/admin", "x" * 5000])
def test_an_approval_that_is_not_there_is_not_found(people, id_) -> None:
    assert approve(people["bea"], id_) is grpc.StatusCode.NOT_FOUND


def test_one_administrator_cannot_lock_himself_out(tmp_path) -> None:
    with Mesh(tmp_path, lease_s=60, heartbeat_s=1.0) as mesh:
        mesh.init()
        mesh.start_control_plane()
        add(mesh.client.stub, mesh, "reader", "auditor")
        answer = _call(mesh.client.stub, "SetApproval", admin_pb2.SetApprovalRequest(required=True))
        assert (answer.code(), answer.details()) == (
            PRECONDITION,
            "nobody could approve: there is one administrator",
        )
        done = writ("approve", "on", config=mesh.context_file)
        assert (done.returncode, "writ operator add" in done.stderr) == (Exit.CONFLICT, True)


# --- kept, and bounded --------------------------------------------------------------------------------------------------


class Clock:
    now = float(NOW)

    def __call__(self) -> float:
        return self.now


BEA, CARL = (Grant(name=name, role="admin", sites=frozenset(), credential="") for name in ("bea", "carl"))


@pytest.fixture
def kept():
    clock = Clock()
    return Approvals(MemoryStore(), clock=clock), clock


async def test_after_a_day_nothing_is_approved(kept) -> None:
    approved, clock = kept
    row = await approved.ask(BEA, "CreateToken", "x", b"request")
    clock.now += approvals.LIFETIME_S
    with pytest.raises(PreconditionError, match="is expired"):
        await approved.decide(await approved.get(row.id), CARL, DONE)
    assert (await approved.ask(BEA, "CreateToken", "x", b"request")).id != row.id  # asked anew


async def test_two_who_decide_at_once_decide_once(kept) -> None:
    approved, _ = kept
    row = await approved.ask(BEA, "CreateToken", "x", b"request")
    read = [await approved.get(row.id) for _ in range(2)]
    await approved.decide(read[0], CARL, REJECTED)
    with pytest.raises(ControlPlaneError):
        await approved.decide(read[1], CARL, DONE)


async def test_what_waits_is_bounded_and_old_ones_go(kept) -> None:
    approved, clock = kept
    for number in range(approvals.MAX_WAITING):
        await approved.ask(BEA, "CreateToken", "x", b"%d" % number)
    with pytest.raises(BusyError):
        await approved.ask(BEA, "CreateToken", "x", b"more")
    clock.now += approvals.LIFETIME_S + approvals.KEPT_S + 1
    await approved.ask(BEA, "CreateToken", "x", b"more")
    assert len(await approved.all()) == approvals.MAX_WAITING - 50 + 1


async def test_what_was_asked_for_cannot_be_exchanged(kept) -> None:
    approved, _ = kept
    row = await approved.ask(BEA, "CreateToken", "x", b"request")
    other = await approved.ask(BEA, "CreateToken", "y", b"another")
    for bent in (dataclasses.replace(row, request=other.request), dataclasses.replace(row, request="%%%")):
        with pytest.raises(CorruptError):
            approvals.request_of(bent)


# --- the command --------------------------------------------------------------------------------------------------------


def test_the_command_asks_shows_approves_and_all_of_it_is_recorded(mesh, people, tmp_path) -> None:
    config = tmp_path / "bea.toml"
    bea = people["bea"]
    (tmp_path / "key").write_bytes(keys.dump_private(bea.key, None))
    (tmp_path / "certificate").write_bytes(identity.pem(*bea.chain))
    context = mesh.context()
    config.write_text(
        f'current = "b"\n[contexts.b]\naddress = "{context.address}"\ntrust_domain = "{context.trust_domain}"\n'
        f'ca = "{context.ca}"\ncertificate = "certificate"\nkey = "key"\n'
    )
    asked = writ("token", "create", "asked.paris", config=mesh.context_file)
    assert (asked.returncode, "waiting for approval" in asked.stderr) == (Exit.CONFLICT, True)
    id_ = asked.stderr.split("`")[1]
    assert f"hint: another operator: writ approve {id_}" in asked.stderr
    assert id_ in writ("approve", "list", config=config).stdout
    assert json.loads(writ("approve", "show", id_, config=config).stdout)["request"] == {
        "node": "asked",
        "site": "paris",
        "ttl_s": 600,
    }
    assert writ("approve", id_, config=config).returncode != 0  # it asks first
    mine = writ("approve", id_, "--yes", config=mesh.context_file)
    assert (mine.returncode, "nobody approves what he asked for himself" in mine.stderr) == (
        Exit.DENIED,
        True,
    )
    done = writ("approve", id_, "--yes", config=config)
    assert json.loads(done.stdout)["token"].startswith("writ1.")
    off = writ("approve", "off", config=mesh.context_file)
    assert off.returncode == Exit.CONFLICT
    assert writ("approve", "reject", off.stderr.split("`")[1], config=config).returncode == 0
    mesh.control_plane.kill(15)
    calls = evidence.calls([mesh.directory / "controlplane" / "evidence"])
    about = {(c["operator"], c["call"], c["outcome"]) for c in calls if id_ in {c["approval"], c["target"]}}
    assert about == {
        ("admin", "CreateToken", "waiting"),
        ("bea", "ListApprovals", "ok"),
        ("admin", "ListApprovals", "ok"),
        ("admin", "ApproveCall", "denied"),
        ("bea", "ApproveCall", "ok"),
        ("admin", "CreateToken", "ok"),
    }
