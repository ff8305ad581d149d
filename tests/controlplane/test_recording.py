"""What operators did is in a log that nobody can alter: a real control plane, its real files, killed and starved."""

import asyncio
import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import urllib.request

import clients
import grpc
import pytest
from barenode import until
from clients import admin, ask, enrolled, enrolment, root_and_ca, token
from commands import writ
from grpc_health.v1 import health_pb2, health_pb2_grpc
from operators import add
from pki import NOW

from agent import identity
from audit import note, record, tiles, verify
from audit.verify import Problem
from certs import keys
from certs.document_keys import ED25519
from controlplane.api.gen import admin_pb2
from controlplane.api.logfiles import LogFiles
from controlplane.cli import evidence
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError, Exit
from controlplane.errors import UnavailableError
from controlplane.services.evidence.recording import Recording
from controlplane.services.evidence.witness import Witness, own_origin
from controlplane.services.mesh import setup
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore

pytestmark = pytest.mark.timeout(90)
Health = health_pb2.HealthCheckResponse
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def mesh(tmp_path):
    with Mesh(tmp_path, lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("shared"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        yield made


def log_of(mesh: Mesh):
    return mesh.directory / "controlplane" / "evidence"


def stop(mesh: Mesh, number: int = 15) -> None:
    mesh.control_plane.kill(number)


def recorded(mesh: Mesh) -> list[tuple[str, str, str, str]]:
    """(operator, call, target, outcome) of every record, after the control plane has ended and signed its log."""
    found = [json.loads(entry) for entry in evidence.entries(log_of(mesh))]
    return [(r["operator"], r["call"], r["target"], r["outcome"]) for r in found if r["call"] != "appoint"]


def verified(mesh: Mesh, keys_file) -> tuple[int, str]:
    done = writ("audit", "verify", "--keys", str(keys_file), str(log_of(mesh)), config=mesh.context_file)
    return done.returncode, done.stdout + done.stderr


def keys_of(mesh: Mesh, path):
    """As soon as the witness has cosigned the log."""
    while not (log_of(mesh) / "checkpoint.cosigned").exists():
        mesh.call("ListSites", admin_pb2.ListSitesRequest())
    done = writ("audit", "keys", config=mesh.context_file)
    assert done.returncode == 0
    path.write_text(done.stdout)
    return path


def test_every_call_is_recorded_with_who_what_on_what_and_its_outcome(mesh) -> None:
    auditor = add(mesh.client.stub, mesh, "anna", "auditor")
    site = admin_pb2.Site(name="berlin", jurisdiction="DE")
    assert auditor("AddSite", site) is DENIED
    assert mesh.call("AddSite", site).name == "berlin"
    with pytest.raises(CliError):
        mesh.call("AddSite", admin_pb2.Site(name="berlin", jurisdiction="FR"))
    assert auditor("GetNode", admin_pb2.GetNodeRequest(node="x", site="berlin")) is grpc.StatusCode.NOT_FOUND
    stop(mesh)
    assert recorded(mesh) == [
        ("admin", "AddSite", "paris", "begun"),
        ("admin", "AddSite", "paris", "ok"),
        ("admin", "AddOperator", "anna", "begun"),
        ("admin", "AddOperator", "anna", "ok"),
        ("anna", "AddSite", "berlin", "denied"),
        ("admin", "AddSite", "berlin", "begun"),
        ("admin", "AddSite", "berlin", "ok"),
        ("admin", "AddSite", "berlin", "begun"),
        ("admin", "AddSite", "berlin", "exists"),
        ("anna", "GetNode", "x.berlin", "notfound"),
    ]
    digest = hashlib.sha256(site.SerializeToString(deterministic=True)).hexdigest()
    (refused,) = evidence.calls([log_of(mesh)])[-4:-3]
    assert (refused["arguments"], refused["role"]) == (digest, "auditor")
    assert refused["credential"].startswith("certificate ")


def test_the_log_verifies_offline_and_says_who_did_what(mesh, tmp_path) -> None:
    trusted = keys_of(mesh, tmp_path / "keys")
    stop(mesh)
    assert verified(mesh, trusted)[0] == 0
    shown = writ("audit", "admin", str(log_of(mesh)), "--call", "AddSite")
    assert [line.split()[1:] for line in shown.stdout.splitlines()[1:]] == [
        ["admin", "admin", "AddSite", "paris", "ok"]
    ]
    assert "paris" in writ("audit", "tail", str(log_of(mesh))).stdout


@pytest.mark.parametrize("attack", ["altered", "cut"])
def test_a_log_that_was_altered_or_cut_is_named(mesh, tmp_path, attack) -> None:
    trusted = keys_of(mesh, tmp_path / "keys")
    stop(mesh)
    log = log_of(mesh)
    (entries,) = (log / "tile" / "entries").rglob("*.p/*")
    if attack == "altered":
        entries.write_bytes(entries.read_bytes().replace(b'"operator":"admin"', b'"operator":"anna."'))
    else:
        entries.unlink()
    code, said = verified(mesh, trusted)
    assert code == Exit.VERIFICATION
    assert {"altered": "altered", "cut": "missing"}[attack] in said


def test_what_was_answered_survives_a_kill_and_what_was_begun_is_said(mesh, tmp_path) -> None:
    trusted = keys_of(mesh, tmp_path / "keys")
    token(mesh, "gpu-1")
    mesh.control_plane.environment["WRIT_FAILPOINT"] = "node.stored"
    stop(mesh, 9)
    mesh.start_control_plane()
    with pytest.raises(CliError):
        mesh.revoke("gpu-1.paris")
    mesh.control_plane.child.wait(20)
    del mesh.control_plane.environment["WRIT_FAILPOINT"]
    mesh.start_control_plane()
    assert mesh.find("gpu-1.paris").state == "revoked"
    stop(mesh)
    about = [row for row in recorded(mesh) if row[2].endswith("gpu-1.paris")]
    assert about == [
        ("admin", "CreateToken", "gpu-1.paris", "begun"),
        ("admin", "CreateToken", "gpu-1.paris", "ok"),
        ("admin", "RevokeNode", "gpu-1.paris", "begun"),
        ("admin", "GetNode", "gpu-1.paris", "ok"),
    ]
    assert verified(mesh, trusted)[0] == 0


def test_what_cannot_be_recorded_does_not_happen_and_nodes_are_served(tmp_path, monkeypatch) -> None:
    """The log is on a device of its own, which is full. Operators are refused, nothing changes, and a node still enrols.

    Whoever watches hears of it before an operator comes, and again when there is room.
    """
    monkeypatch.setenv("WRIT_METRICS__LISTEN", "127.0.0.1:0")
    with Mesh(tmp_path, lease_s=60, heartbeat_s=1.0) as mesh:
        mesh.init()
        log_of(mesh).mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", log_of(mesh)], check=True)
        try:
            _starve(mesh, tmp_path)
        finally:
            mesh.stop()
            subprocess.run(["umount", "-l", log_of(mesh)], check=True)


def _starve(mesh: Mesh, tmp_path) -> None:
    mesh.start_control_plane()
    mesh.site("paris", "FR")
    trusted = keys_of(mesh, tmp_path / "keys")
    invited = token(mesh, "gpu-1")
    filler = log_of(mesh) / "filler"
    assert watched(mesh) == (1, Health.SERVING, Health.SERVING)
    _fill(filler)
    until(lambda: watched(mesh) == (0, Health.NOT_SERVING, Health.SERVING))
    done = {name for name in (f"site-{number}" for number in range(40)) if _added(mesh, name)}
    assert len(done) < 20  # the journal's last page had room for a few
    with pytest.raises(CliError, match="evidence log cannot be written"):
        mesh.call("ListSites", admin_pb2.ListSitesRequest())
    seen = writ("check", config=mesh.context_file)
    assert (seen.returncode, "FAIL  evidence  the evidence log cannot be written" in seen.stdout) == (1, True)
    assert "hint:" in seen.stdout
    _, ca = root_and_ca(mesh, invited, tmp_path / "token")
    assert ask(enrolment(mesh, ca), invited).chain
    filler.unlink()
    until(lambda: watched(mesh) == (1, Health.SERVING, Health.SERVING))
    assert "ok    evidence" in writ("check", config=mesh.context_file).stdout
    known = {site.name for site in mesh.call("ListSites", admin_pb2.ListSitesRequest()).sites}
    assert known == {"paris", *done}
    stop(mesh)
    assert verified(mesh, trusted)[0] == 0


def watched(mesh: Mesh) -> tuple[int, int, int]:
    """The metric, and gRPC health of what operators call and of what nodes call."""
    port = mesh.control_plane.ports()["metrics"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=10) as answer:
        assert answer.status == 200
    value = int(re.search(r"^writ_controlplane_evidence_writable (\d)$", page, re.MULTILINE)[1])
    with clients.operator(mesh) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        states = [
            stub.Check(health_pb2.HealthCheckRequest(service=f"writ.v1.{name}"), timeout=10).status
            for name in ("Admin", "Sync")
        ]
    return (value, *states)


def _added(mesh: Mesh, name: str) -> bool:
    with contextlib.suppress(CliError):
        mesh.site(name, "DE")
        return True
    with pytest.raises(CliError, match="evidence log cannot be written") as caught:
        mesh.site(name, "DE")
    assert caught.value.code is Exit.UNREACHABLE
    return False


def _fill(path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (4096, 64, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


def test_strangers_are_counted_and_do_not_fill_the_log(mesh, tmp_path) -> None:
    """A node has a certificate that opens the port. Its calls are refused, and what it can make us write is bounded."""
    _, ca = root_and_ca(mesh, token(mesh, "probe"), tmp_path / "token")
    node = enrolled(mesh, enrolment(mesh, ca), "curious")
    stub = admin(mesh, keys.dump_private(node.key, None), identity.pem(*node.chain))
    for _ in range(200):
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListNodes(admin_pb2.ListNodesRequest(), timeout=10)
        assert caught.value.code() is DENIED
    stop(mesh)
    strangers = [json.loads(e) for e in evidence.entries(log_of(mesh))]
    strangers = [r for r in strangers if r["operator"] == "" and r["call"] != "appoint"]
    written = [r for r in strangers if r["outcome"] == "denied"]
    assert 60 <= len(written) <= 120  # a minute may end meanwhile
    assert len(written) + sum(r["suppressed"] for r in strangers) == 200


def test_files_of_the_log_are_nobody_elses(mesh) -> None:
    stop(mesh)
    for path in (log_of(mesh), *log_of(mesh).rglob("*")):
        assert path.stat().st_mode & 0o077 == 0


def test_an_auditor_fetches_the_log_and_proves_it_far_away(mesh, tmp_path) -> None:
    """Over the end of a full bundle, twice: what is there is not fetched again, and what comes verifies."""
    trusted, far = keys_of(mesh, tmp_path / "keys"), tmp_path / "far"
    for wanted in (300, 520):
        while _size(log_of(mesh)) < wanted:
            mesh.call("ListSites", admin_pb2.ListSitesRequest())
        assert writ("audit", "fetch", "--dir", str(far), config=mesh.context_file).returncode == 0
        done = writ("audit", "verify", "--keys", str(trusted), str(far / "replica-1"))
        assert done.returncode == 0, done.stderr
    shown = writ("audit", "admin", str(far / "replica-1"), "--call", "AddSite", "-o", "json")
    assert [one["target"] for one in json.loads(shown.stdout)] == ["paris"]


def _size(log) -> int:
    return int((log / "checkpoint").read_text().split("\n")[1])


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../keys/root.pem", "tile/../../keys/root.pem", "journal.0", "reserve",
                                  "tile/0/000/", "tile/0/0000", "checkpoint\n", "tile/entries/000.p/0", "x" * 5000])  # fmt: skip
def test_only_files_of_the_log_are_read(shared, path) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        shared.client.stub.ReadEvidence(admin_pb2.ReadEvidenceRequest(path=path), timeout=10)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


# --- the log itself -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def recording(tmp_path):
    """The log of a replica, its keys made here, its witness in memory."""
    signer = FileSigner(tmp_path / "keys", b"a passphrase of this test")
    made = setup.make_mesh("acme.example", tmp_path, signer, NOW)
    key = note.VerifierKey(
        own_origin("acme.example", "replica-1"), note.NOTE, setup.raw_public(signer, "evidence", ED25519)
    )
    found = Recording(
        tmp_path / "evidence", key, made.signing("evidence"), Witness(MemoryStore(), made), "spiffe://acme.example/control-plane/replica-1"
    )  # fmt: skip
    yield found
    await found.close()


def kept(recording) -> list[tuple[str, str]]:
    data = (recording._directory / "journal.0").read_bytes()
    return [(record["call_id"], record["outcome"]) for record in map(json.loads, tiles.entries(data))]


async def test_a_device_that_fills_in_between_still_takes_the_outcome_and_nothing_new(
    recording, monkeypatch
) -> None:
    """Room for it was reserved when the call was begun."""
    full, real_append, real_write = [], LogFiles.append, LogFiles.write

    def append(files, path, data) -> None:
        if full and files.read("reserve") is not None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_append(files, path, data)

    def write(files, path, data) -> None:
        if full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real_write(files, path, data)

    monkeypatch.setattr(LogFiles, "append", append)
    monkeypatch.setattr(LogFiles, "write", write)
    await recording.keep(call_id="1", call="AddSite", outcome="begun", lasting=False)
    full.append(True)
    await recording.keep(call_id="1", call="AddSite", outcome="ok", final=True)
    with pytest.raises(UnavailableError, match="No space left"):
        await recording.keep(call_id="2", call="AddSite", outcome="begun", lasting=False)
    full.clear()
    await recording.keep(call_id="3", call="AddSite", outcome="begun", lasting=False)
    assert kept(recording) == [("1", "begun"), ("1", "ok"), ("3", "begun")]


async def test_a_sync_that_fails_refuses_everybody_who_waited_for_it(recording, monkeypatch) -> None:
    await recording.keep(call_id="1", call="AddSite", outcome="ok")

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(LogFiles, "sync", fails)
        work = (recording.keep(call_id=str(n), call="ListSites", outcome="ok") for n in range(2, 6))
        failed = await asyncio.gather(*work, return_exceptions=True)
    assert [type(one) for one in failed] == [UnavailableError] * 4
    await recording.keep(call_id="6", call="ListSites", outcome="ok")
    assert kept(recording)[-1] == ("6", "ok")


@pytest.mark.parametrize("text", ["a\nb", "\x1b[31m", '"},{"', "é\u202e", "\x00", "x" * 9000])
async def test_what_operators_write_cannot_forge_a_record_or_drive_a_terminal(recording, text) -> None:
    await recording.keep(call_id="1", call="RevokeNode", outcome="invalid", reason=text, target=text)
    (data,) = tiles.entries((recording._directory / "journal.0").read_bytes())
    found = record.load(data)
    assert (found.call_id, found.outcome, found.reason.isprintable()) == ("1", "invalid", True)


async def test_a_log_that_was_put_back_to_an_older_state_is_not_cosigned(recording, tmp_path) -> None:
    for number in range(3):
        await recording.keep(call_id=str(number), call="AddSite", outcome="ok")
    await recording._checkpoint()
    old = shutil.copytree(tmp_path / "evidence", tmp_path / "old")
    await recording.keep(call_id="3", call="RevokeNode", outcome="ok")
    await recording._checkpoint()
    again = Recording(old, recording.key, recording._sign, recording._witness, recording._spiffe_id)
    await again.keep(call_id="4", call="AddSite", outcome="ok")
    await again._checkpoint()
    await again.close()
    (row,) = await recording._witness.own()
    for path in (tmp_path / "evidence", old):  # as `writ audit fetch` does: the witness's word from the store
        (path / "checkpoint.cosigned").write_text(recording._witness.cosigned(row))

    def found(path) -> list[Problem]:
        report = verify.verify_log(evidence.reader(path), recording.key, recording._witness.key)
        return [finding.problem for finding in report.findings]

    assert (found(tmp_path / "evidence"), found(old)) == ([], [Problem.FORK])
