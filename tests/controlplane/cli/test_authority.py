"""`writ authority` and `writ root` as an operator runs them: over real gRPC, with the root here, elsewhere, and in a safe."""

import json
import os
import shutil
import signal
import threading

import clients
import pytest
import workloads
from authority_commands import by_kind, refused, root_of, shown
from commands import writ

from controlplane.api.gen import admin_pb2, sync_pb2, sync_pb2_grpc
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError, Exit

pytestmark = pytest.mark.timeout(180)
PASSPHRASE = "correct horse battery staple"


@pytest.fixture
def mesh(tmp_path):
    with Mesh(tmp_path / "mesh", lease_s=60, heartbeat_s=0.5, svid_s=150) as made:
        made.directory.mkdir()
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


def test_everything_is_replaced_by_hand_and_the_operator_is_not_locked_out(mesh) -> None:
    before = by_kind(mesh, "active")
    assert set(before) == {"node", "control-plane", "workload", "jwt"}
    made = shown(mesh, "prepare")
    assert {one["kind"]: one["state"] for one in made} == dict.fromkeys(before, "prepared")
    assert refused(mesh, "authority", "retire", before["node"], "--yes")[0] == Exit.CONFLICT
    assert len(shown(mesh, "activate")) == 4
    assert by_kind(mesh, "old") == before
    mesh.connect()  # a new handshake: the control plane now shows a certificate by the new CA
    mesh.call("ListSites", admin_pb2.ListSitesRequest())
    code, text = refused(mesh, "authority", "retire", before["node"], "--yes")
    assert (code, "what" in text and "may live for" in text) == (Exit.CONFLICT, True)
    assert (
        writ("authority", "retire", before["node"], "--yes", "--force", config=mesh.context_file).returncode
        == 0
    )
    assert writ("authority", "retire", before["jwt"], "--yes", config=mesh.context_file).returncode == 0
    assert set(by_kind(mesh, "old")) == {"control-plane", "workload"}
    assert refused(mesh, "authority", "activate") == (
        Exit.CONFLICT,
        "error: nothing is prepared\nhint: writ authority prepare\n",
    )


def test_who_does_not_know_a_ca_is_named_and_passed_over_by_force_only(mesh, tmp_path) -> None:
    _, ca = clients.root_and_ca(mesh, clients.token(mesh, "probe"), tmp_path / "token")
    slow = clients.enrolled(mesh, clients.enrolment(mesh, ca), "slow")
    hello = sync_pb2.SyncRequest(hello=sync_pb2.Hello(ingress_address="127.0.0.1:7443"))
    over = threading.Event()

    def says():
        yield hello  # and nothing of what it enforces
        over.wait(60)

    with slow.channel(mesh) as channel:
        stream = sync_pb2_grpc.SyncStub(channel).Connect(says())
        assert next(stream)
        (made,) = shown(mesh, "prepare", "node")
        code, text = refused(mesh, "authority", "activate", made["key_id"])
        assert (code, "not known yet to spiffe://demo.example/fr/paris/slow" in text) == (Exit.CONFLICT, True)
        forced = writ("authority", "activate", made["key_id"], "--force", config=mesh.context_file)
        assert (forced.returncode, "/fr/paris/slow" in forced.stderr) == (0, True)
        over.set()
        stream.cancel()


def test_after_a_restart_it_issues_with_what_was_active(mesh) -> None:
    shown(mesh, "prepare")
    shown(mesh, "activate")
    wanted = by_kind(mesh, "active")
    mesh.control_plane.kill()
    mesh.start_control_plane()
    assert by_kind(mesh, "active") == wanted


def test_a_root_that_is_elsewhere_signs_what_is_carried_to_it(mesh, tmp_path) -> None:
    safe, csr, signed = tmp_path / "safe", tmp_path / "cas.csr", tmp_path / "cas.pem"
    shutil.copytree(root_of(mesh), safe, ignore=shutil.ignore_patterns("writ.db*"))
    (root_of(mesh) / "keys" / "root.pem").unlink()
    (asked,) = shown(mesh, "prepare", "node")
    assert asked["state"] == "requested"
    asked = shown(mesh, "prepare", "--csr", str(csr))
    assert {one["kind"] for one in asked} == {"node", "control-plane", "workload"}
    assert by_kind(mesh, "prepared") == {}
    assert (
        writ("root", "sign", "--root", str(safe), "--csr", str(csr), "--certificate", str(signed)).returncode
        == 0
    )
    made = shown(mesh, "prepare", "--certificate", str(signed))
    assert {one["key_id"] for one in made} == {one["key_id"] for one in asked}
    assert {one["state"] for one in made} == {"prepared"}
    assert len(shown(mesh, "activate")) == 3
    assert refused(mesh, "authority", "prepare", "--certificate", str(csr))[0] == Exit.USAGE
    signed.write_bytes(mesh.context().ca.read_bytes())
    assert refused(mesh, "authority", "prepare", "--certificate", str(tmp_path / "none"))[0] == Exit.USAGE


def test_a_root_signs_requests_of_its_mesh_and_nothing_else(mesh, tmp_path) -> None:
    csr, signed = tmp_path / "x.csr", tmp_path / "x.pem"
    for text in (
        "",
        "nonsense",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
    ):
        csr.write_text(text)
        done = writ(
            "root", "sign", "--root", str(root_of(mesh)), "--csr", str(csr), "--certificate", str(signed)
        )
        assert (done.returncode, signed.exists()) == (Exit.USAGE, False)
        assert "Traceback" not in done.stderr


def test_taint_says_first_and_does_then(mesh) -> None:
    before = by_kind(mesh, "active")
    for words in (("node",), ("workload",), ("jwt",)):
        key = before[words[0]]
        seen = json.loads(
            writ("authority", "taint", key, "--dry-run", "-o", "json", config=mesh.context_file).stdout
        )
        assert (seen["authority"]["state"], seen["dry_run"], seen["nodes"]) == ("active", True, [])
    assert by_kind(mesh, "active") == before
    assert refused(mesh, "authority", "taint", before["node"])[0] != 0  # nobody said yes
    assert by_kind(mesh, "active") == before
    assert writ("authority", "taint", before["node"], "--yes", config=mesh.context_file).returncode == 0
    workloads.eventually(lambda: by_kind(mesh, "active").get("node") not in {None, before["node"]})
    workloads.eventually(lambda: before["node"] not in {one["key_id"] for one in shown(mesh, "list")}, 90)
    assert refused(mesh, "authority", "taint", "nobody", "--yes")[0] == Exit.NOT_FOUND


def test_a_taint_at_once_says_what_breaks(mesh) -> None:
    key = by_kind(mesh, "active")["workload"]
    said = writ("authority", "taint", key, "--now", "--dry-run", config=mesh.context_file).stderr
    assert "breaks: workloads with its certificates have none" in said
    assert "nothing was changed" in said
    assert writ("authority", "taint", key, "--now", "--yes", config=mesh.context_file).returncode == 0
    assert key not in {one["key_id"] for one in shown(mesh, "list")}


def test_the_context_learns_new_cas_by_itself(mesh) -> None:
    path = mesh.context().ca
    before = path.read_bytes()
    mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest(kind="control-plane"))
    assert writ("site", "list", config=mesh.context_file).returncode == 0
    assert path.read_bytes() == before  # asked not long ago
    os.utime(path, (0, 0))
    assert writ("site", "list", config=mesh.context_file).returncode == 0
    assert path.read_bytes().count(b"BEGIN CERTIFICATE") == 2
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("shares", [False, True])
def test_a_root_goes_into_a_safe_and_comes_out_again(mesh, tmp_path, shares) -> None:
    out, secret, root = tmp_path / "root.backup", tmp_path / "secret", root_of(mesh)
    secret.write_text(PASSPHRASE + "\n")
    how = ("--shares", "3", "--threshold", "2") if shares else ("--passphrase-file", str(secret))
    done = writ("root", "backup", "--root", str(root), "--out", str(out), *how, "--remove", "--yes")
    assert done.returncode == 0, done.stderr
    assert not (root / "keys" / "root.pem").exists()
    assert b"PRIVATE" not in out.read_bytes()
    assert (
        shown(mesh, "prepare", "node")[0]["state"] == "requested"
    )  # the running control plane has it no more
    given = (
        ("--share", f"{out}.share-1", "--share", f"{out}.share-3")
        if shares
        else ("--passphrase-file", str(secret))
    )
    elsewhere = tmp_path / "elsewhere"
    assert writ("root", "restore", str(out), "--root", str(elsewhere), *given).returncode == 0
    csr, signed = tmp_path / "cas.csr", tmp_path / "cas.pem"
    shown(mesh, "prepare", "--csr", str(csr))
    done = writ("root", "sign", "--root", str(elsewhere), "--csr", str(csr), "--certificate", str(signed))
    assert done.returncode == 0, done.stderr
    assert {one["state"] for one in shown(mesh, "prepare", "--certificate", str(signed))} == {"prepared"}
    assert writ("root", "restore", str(out), "--root", str(root), *given).returncode == 0  # back where it was
    workloads.eventually(lambda: "requested" not in {one["state"] for one in shown(mesh, "list")})


def test_a_backup_that_does_not_open_changes_nothing(mesh, tmp_path) -> None:
    out, secret = tmp_path / "root.backup", tmp_path / "secret"
    secret.write_text(PASSPHRASE)
    words = ("--root", str(root_of(mesh)), "--out", str(out), "--passphrase-file", str(secret))
    assert writ("root", "backup", *words).returncode == 0
    assert writ("root", "backup", *words).returncode == Exit.CONFLICT  # not overwritten
    secret.write_text("too short")
    assert (
        writ("root", "backup", *words[:2], "--out", str(tmp_path / "b"), *words[4:]).returncode == Exit.USAGE
    )
    secret.write_text("another passphrase")
    elsewhere = tmp_path / "elsewhere"
    done = writ("root", "restore", str(out), "--root", str(elsewhere), "--passphrase-file", str(secret))
    assert (done.returncode, "Traceback" in done.stderr) == (Exit.USAGE, False)
    assert not (elsewhere / "authorities.json").exists()
    secret.write_text(PASSPHRASE)
    with Mesh(tmp_path / "other") as other:
        other.directory.mkdir()
        other.init()
        done = writ(
            "root", "restore", str(out), "--root", str(root_of(other)), "--passphrase-file", str(secret)
        )
        assert (done.returncode, "another root" in done.stderr) == (Exit.CONFLICT, True)


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("failpoint", ["ca.requested", "ca.prepared", "ca.activated", "ca.retired"])
def test_a_control_plane_that_dies_within_a_step_goes_on_after_it(mesh, failpoint) -> None:
    if failpoint in {"ca.activated", "ca.retired"}:
        made = mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest(kind="node"))
    before = by_kind(mesh, "active")["node"]
    if failpoint == "ca.retired":
        mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=made.key_id))
    mesh.control_plane.kill()
    mesh.control_plane.environment["WRIT_FAILPOINT"] = failpoint
    mesh.start_control_plane()
    with pytest.raises(CliError):
        if failpoint == "ca.activated":
            mesh.call("ActivateAuthority", admin_pb2.ActivateAuthorityRequest(key_id=made.key_id))
        elif failpoint == "ca.retired":
            mesh.call("RetireAuthority", admin_pb2.RetireAuthorityRequest(key_id=before, force=True))
        else:
            mesh.call("PrepareAuthority", admin_pb2.PrepareAuthorityRequest(kind="node"))
    assert mesh.control_plane.child.wait(30) == -signal.SIGKILL
    del mesh.control_plane.environment["WRIT_FAILPOINT"]
    mesh.start_control_plane()
    wanted = {
        "ca.requested": {"active", "prepared"},
        "ca.prepared": {"active", "prepared"},
        "ca.activated": {"active", "old"},
        "ca.retired": {"active"},
    }
    workloads.eventually(
        lambda: {one["state"] for one in shown(mesh, "list") if one["kind"] == "node"} == wanted[failpoint]
    )
