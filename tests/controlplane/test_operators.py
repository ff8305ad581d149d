"""Operators under attack: a real control plane in a process of its own, real certificates, real calls."""

import importlib
import itertools
import pkgutil
import threading
import time

import grpc
import pytest
from clients import authorities_of
from operators import Person, add
from pki import NOW

from certs import issue, keys, spiffe
from certs.csr import make_csr
from certs.profile import Profile
from controlplane.api import gen
from controlplane.api.gen import admin_pb2, overview_pb2, overview_pb2_grpc
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh
from controlplane.rpc import permissions
from controlplane.rpc.administration import NOT_OURS, PACKAGE
from controlplane.services.admin.grants import ROLES, Grant
from controlplane.services.admin.operators import appointed, make_first
from controlplane.services.mesh import setup
from controlplane.signer.file import FileSigner

pytestmark = pytest.mark.timeout(90)
DENIED, PRECONDITION = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION
NAMES = (f"person-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("operators"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        made.site("berlin", "DE")
        for node in ("gpu-1.paris", "gpu-1.berlin"):
            name, _, site = node.partition(".")
            made.call("CreateToken", admin_pb2.CreateTokenRequest(node=name, site=site))
        yield made


@pytest.fixture
def person(mesh):
    """Makes operators of a role and sites."""
    return lambda role, *sites: add(mesh.client.stub, mesh, next(NAMES), role, *sites)


def node(site: str) -> admin_pb2.GetNodeRequest:
    return admin_pb2.GetNodeRequest(node="gpu-1", site=site)


def operator(name: str, role: str = "auditor", *sites: str) -> admin_pb2.AddOperatorRequest:
    wanted = admin_pb2.Operator(name=name, role=role, sites=sites, hours=1)
    return admin_pb2.AddOperatorRequest(operator=wanted, csr=make_csr(keys.generate_p256()))


# --- the table --------------------------------------------------------------------------------------------------------


def services() -> list:
    """Every service of the API that is not one of nodes or replicas."""
    names = (module.name for module in pkgutil.iter_modules(gen.__path__) if module.name.endswith("_pb2"))
    files = (importlib.import_module(f"{gen.__name__}.{name}").DESCRIPTOR for name in names)
    ours = [file for file in files if file.package == PACKAGE]
    found = [service for file in ours for service in file.services_by_name.values()]
    assert {service.name for service in found} > NOT_OURS
    return [service for service in found if service.name not in NOT_OURS]


def test_every_call_of_an_operator_has_a_row_and_every_row_a_call() -> None:
    names = [method.name for service in services() for method in service.methods]
    assert sorted(permissions.TABLE) == sorted(names)


def test_administrators_may_call_everything_and_nobody_else_governs() -> None:
    for call, row in permissions.TABLE.items():
        assert "admin" in row.roles, call
        if row.sites is permissions.mesh and row.kind is not permissions.READ:
            assert row.roles <= permissions.DELIVER, f"`{call}` acts on the whole mesh"


def test_an_auditor_changes_nothing_but_his_own_certificate() -> None:
    changing = {
        call
        for call, row in permissions.TABLE.items()
        if row.kind is not permissions.READ and "auditor" in row.roles
    }
    assert changing == {"RenewOperator"}


@pytest.mark.parametrize("role", ROLES)
def test_a_real_server_refuses_exactly_what_the_table_refuses(mesh, person, role) -> None:
    with person(role).channel() as channel:
        for service in services():
            stub = getattr(_grpc_module(service), f"{service.name}Stub")(channel)
            for method in service.methods:
                request = method.input_type._concrete_class()
                refused = _refused(getattr(stub, method.name), request, streams=method.server_streaming)
                assert refused is (role not in permissions.TABLE[method.name].roles), method.name


def _grpc_module(service):
    name = service.file.name.removesuffix(".proto").replace("/", ".")
    return importlib.import_module(f"{name}_pb2_grpc")


def _refused(call, request, *, streams: bool) -> bool:
    """Refused by role. An empty request fails in many ways; what is asked is whether it got that far."""
    try:
        list(call(request, timeout=3)) if streams else call(request, timeout=10)
    except grpc.RpcError as exc:
        return exc.code() is DENIED and " is for " in exc.details()
    return False


def test_a_call_that_is_in_no_table_is_nobodys() -> None:
    grant = Grant(name="a", role="admin", sites=frozenset(), credential="")
    with pytest.raises(Exception, match="nobody is permitted"):
        permissions.check("Unheard", None, grant)


# --- sites ------------------------------------------------------------------------------------------------------------


def test_a_scope_ends_at_its_sites(mesh, person) -> None:
    paris = person("operator", "paris")
    assert paris("GetNode", node("paris")).site == "paris"
    assert paris("GetNode", node("berlin")) is DENIED
    assert "is operator at paris and may not act on site `berlin`" in paris.says("GetNode", node("berlin"))
    for call, request in (
        ("CreateToken", admin_pb2.CreateTokenRequest(node="new", site="berlin")),
        ("RevokeNode", admin_pb2.RevokeNodeRequest(node="gpu-1", site="berlin")),
        ("SetNode", admin_pb2.SetNodeRequest(node="gpu-1", site="berlin", attributes=admin_pb2.Attributes(tier=2))),
        ("RegisterWorkload", admin_pb2.Workload(node="gpu-1", site="berlin", name="w", selectors=["unix:uid:1"])),
        ("ApplyResources", admin_pb2.ApplyResourcesRequest(resources=[
            admin_pb2.Resource(kind="Model", name="m", node="gpu-1", site="paris", port=1),
            admin_pb2.Resource(kind="Model", name="m", node="gpu-1", site="berlin", port=1),
        ])),
        ("ListNodes", admin_pb2.ListNodesRequest(site="berlin")),
        ("CreateToken", admin_pb2.CreateTokenRequest(node="new", site="")),
        ("CreateToken", admin_pb2.CreateTokenRequest(node="new", site="paris/../berlin")),
    ):  # fmt: skip
        assert paris(call, request) is DENIED, call
    found = mesh.call("GetNode", node("berlin"))
    assert (found.state, found.attributes.tier) == ("invited", 4)


def test_answers_hold_only_what_a_scope_may_see(mesh, person) -> None:
    paris = person("auditor", "paris")
    assert {n.site for n in paris("ListNodes", admin_pb2.ListNodesRequest()).nodes} == {"paris"}
    assert {n.site for n in paris("GetStatus", admin_pb2.GetStatusRequest()).nodes} == {"paris"}
    assert [s.name for s in paris("ListSites", admin_pb2.ListSitesRequest()).sites] == ["paris"]
    assert not paris("ListWitnessed", admin_pb2.ListWitnessedRequest()).logs
    assert all(
        o.sites == ["paris"] for o in paris("ListOperators", admin_pb2.ListOperatorsRequest()).operators
    )
    with paris.channel() as channel:
        seen = overview_pb2_grpc.OverviewStub(channel).GetOverview(
            overview_pb2.GetOverviewRequest(), timeout=10
        )
    assert {n.node for n in (*seen.listed, *seen.attention)} == {"gpu-1.paris"}


def test_a_pipeline_of_one_site_touches_no_policy_elsewhere(person) -> None:
    ci = person("ci", "paris")
    source = admin_pb2.PolicySource(files=[admin_pb2.PolicyFile(name="p.cedar", text="")])
    assert ci("ApplyPolicy", admin_pb2.ApplyPolicyRequest(source=source)) is DENIED
    assert ci("ApplyPolicy", admin_pb2.ApplyPolicyRequest(source=source, sites=["paris", "berlin"])) is DENIED
    assert ci("PromotePolicy", admin_pb2.PromotePolicyRequest()) is DENIED
    assert ci("RollbackPolicy", admin_pb2.RollbackPolicyRequest()) is DENIED
    assert ci("ApplyPolicy", admin_pb2.ApplyPolicyRequest(source=source, dry_run=True)) is not DENIED


# --- nobody gives what he has not ---------------------------------------------------------------------------------------


def test_nobody_widens_himself_or_gives_more_than_he_has(mesh, person) -> None:
    paris = person("admin", "paris")
    for wanted in (
        admin_pb2.Operator(name=paris.name, role="admin"),
        admin_pb2.Operator(name=paris.name, role="admin", sites=["paris", "berlin"]),
        admin_pb2.Operator(name=paris.name, role="auditor", sites=["paris"]),
    ):
        assert paris("SetOperator", wanted) is DENIED
    assert paris("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=paris.name)) is DENIED
    for sites in ((), ("berlin",), ("paris", "berlin")):
        assert paris("AddOperator", operator("more", "auditor", *sites)) is DENIED
    elsewhere = person("auditor", "berlin")
    for other in ("admin", elsewhere.name):
        assert paris("SetOperator", admin_pb2.Operator(name=other, role="ci", sites=["paris"])) is DENIED
        assert paris("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=other)) is DENIED
        renewal = admin_pb2.RenewOperatorRequest(name=other, csr=make_csr(keys.generate_p256()))
        assert paris("RenewOperator", renewal) is DENIED
    assert paris("AddOperator", operator(next(NAMES), "operator", "paris")).operator.sites == ["paris"]


def test_only_administrators_renew_for_others(person) -> None:
    renewal = admin_pb2.RenewOperatorRequest(name="admin", csr=make_csr(keys.generate_p256()))
    assert {person(role)("RenewOperator", renewal) for role in ("operator", "auditor", "ci")} == {DENIED}


def test_the_last_administrator_stays(mesh, person) -> None:
    other = person("admin")
    assert other("SetOperator", admin_pb2.Operator(name="admin", role="admin", sites=["paris"])).sites == [
        "paris"
    ]
    assert other("SetOperator", admin_pb2.Operator(name="admin", role="admin")).role == "admin"
    assert mesh.call("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=other.name)) is not None
    scoped = person("admin", "paris")
    assert scoped("RemoveOperator", admin_pb2.RemoveOperatorRequest(name="admin")) is DENIED


def test_two_who_remove_each_other_at_once_leave_one(tmp_path) -> None:
    with Mesh(tmp_path, lease_s=60, heartbeat_s=1.0) as mesh:
        mesh.init()
        mesh.start_control_plane()
        for round_ in range(4):
            known = mesh.call("ListOperators", admin_pb2.ListOperatorsRequest()).operators
            assert [one.name for one in known] == ["admin"]
            other = add(mesh.client.stub, mesh, f"other-{round_}", "admin")
            calls = (
                (mesh.client.stub.RemoveOperator, other.name),
                (other.stub.RemoveOperator, "admin"),
            )
            done = _at_once(calls)
            if not done[1]:  # "admin" is left, as at the start of a round
                assert done[0]
                continue
            assert not done[0]
            assert other("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=other.name)) is DENIED
            return


def _at_once(calls) -> list[bool]:
    done: list[bool] = [False] * len(calls)

    def one(index: int) -> None:
        method, name = calls[index]
        try:
            method(admin_pb2.RemoveOperatorRequest(name=name), timeout=20)
            done[index] = True
        except grpc.RpcError:
            pass

    threads = [threading.Thread(target=one, args=(index,)) for index in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


# --- at once ------------------------------------------------------------------------------------------------------------


def test_a_change_and_a_removal_count_from_the_next_call_on_an_open_connection(mesh, person) -> None:
    somebody = person("operator")
    renewal = admin_pb2.GetNodeRequest(node="gpu-1", site="paris")
    assert somebody("RenewNode", renewal) is not DENIED
    mesh.call("SetOperator", admin_pb2.Operator(name=somebody.name, role="auditor"))
    assert somebody("RenewNode", renewal) is DENIED
    assert somebody("GetNode", node("berlin")).site == "berlin"
    mesh.call("SetOperator", admin_pb2.Operator(name=somebody.name, role="auditor", sites=["paris"]))
    assert somebody("GetNode", node("berlin")) is DENIED
    mesh.call("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=somebody.name))
    assert somebody("GetNode", node("paris")) is DENIED


def test_a_name_that_is_given_again_does_not_bring_old_certificates_back(mesh, person) -> None:
    before = person("admin")
    mesh.call("RemoveOperator", admin_pb2.RemoveOperatorRequest(name=before.name))
    after = add(mesh.client.stub, mesh, before.name, "auditor")
    assert before("ListSites", admin_pb2.ListSitesRequest()) is DENIED
    assert after("ListSites", admin_pb2.ListSitesRequest()).sites


def test_a_certificate_that_the_store_does_not_know_is_nobodys(mesh) -> None:
    """Whoever has stolen the CA's key can sign what he likes: without a row, and its serial in it, it counts for nothing."""
    made, key = authorities_of(mesh), keys.generate_p256()
    for name in ("admin", "eve"):
        prepared = issue.prepare_control_plane(
            Profile(lifetime_s=600),
            spiffe.operator_id(TRUST_DOMAIN, name),
            public_key=key.public_key(),
            issuer=made.control_plane_ca,
            serial=4711,
            now=int(time.time()),
        )
        leaf = issue.sign(prepared, made.signing(prepared.key_name))
        forged = Person(mesh, name, key, (leaf, made.control_plane_ca.certificate))
        assert forged("ListSites", admin_pb2.ListSitesRequest()) is DENIED


def test_renewing_takes_a_new_key_and_keeps_role_and_sites(mesh, person) -> None:
    before = person("operator", "paris")
    key = keys.generate_p256()
    made = before("RenewOperator", admin_pb2.RenewOperatorRequest(csr=make_csr(key)))
    assert (made.operator.name, made.operator.role, made.operator.sites) == (
        before.name,
        "operator",
        ["paris"],
    )
    after = Person(mesh, before.name, key, tuple(made.chain))
    assert after("GetNode", node("paris")).site == "paris"
    assert after("GetNode", node("berlin")) is DENIED


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"name": "Not-A-Label"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"name": "../admin"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"role": "root"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"hours": 13}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"sites": ["nowhere"]}, grpc.StatusCode.NOT_FOUND),
        ({"name": "admin"}, grpc.StatusCode.ALREADY_EXISTS),
    ],
)
def test_an_operator_that_must_not_be_is_refused_and_nothing_is_kept(mesh, change, code) -> None:
    wanted = {"name": "bad", "role": "auditor", "hours": 1, **change}
    request = admin_pb2.AddOperatorRequest(
        operator=admin_pb2.Operator(**wanted), csr=make_csr(keys.generate_p256())
    )
    with pytest.raises(grpc.RpcError) as caught:
        mesh.client.stub.AddOperator(request, timeout=10)
    assert caught.value.code() is code
    known = mesh.call("ListOperators", admin_pb2.ListOperatorsRequest()).operators
    assert wanted["name"] == "admin" or wanted["name"] not in {one.name for one in known}


@pytest.mark.parametrize("csr", [b"", b"garbage", b"\x30" * 20_000])
def test_a_request_that_proves_no_key_makes_nobody(mesh, csr) -> None:
    wanted = admin_pb2.Operator(name="keyless", role="auditor", hours=1)
    with pytest.raises(grpc.RpcError) as caught:
        mesh.client.stub.AddOperator(admin_pb2.AddOperatorRequest(operator=wanted, csr=csr), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_note_that_comes_out_of_a_backup_appoints_nobody(tmp_path) -> None:
    """The first administrator's certificate has long ended, and he may have been removed since."""
    signer = FileSigner(tmp_path / "keys", b"a passphrase of this test")
    made = setup.make_mesh("acme.example", tmp_path, signer, NOW)
    make_first(made, tmp_path, "admin", NOW)
    assert appointed(tmp_path, NOW + 60).name == "admin"
    assert appointed(tmp_path, NOW + 12 * 3600) is None
