"""`writ root rotate` as an operator runs it: with the root elsewhere, with bad input, and with a control plane that dies in between."""

import json
import shutil

import pytest
from authority_commands import by_kind, refused, root_of, shown
from commands import writ
from workloads import eventually

from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def mesh(tmp_path):
    with Mesh(tmp_path / "mesh", lease_s=60, heartbeat_s=0.5, svid_s=150) as made:
        made.directory.mkdir()
        made.init()
        made.start_control_plane()
        yield made


def rotate(mesh, *words: str) -> dict:
    done = writ("root", "rotate", *words, "-o", "json", "--yes", config=mesh.context_file)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) if done.stdout else {}


def test_a_root_that_is_elsewhere_is_replaced_by_what_is_carried_to_it(mesh, tmp_path) -> None:
    safe, change, newest, given = (tmp_path / name for name in ("safe", "change", "newest", "given"))
    shutil.copytree(root_of(mesh), safe, ignore=shutil.ignore_patterns("writ.db*"))
    (root_of(mesh) / "keys" / "root.pem").unlink()
    where = ("root", "rotate")
    assert writ(*where, "prepare", "--root", str(safe), "--out", str(change)).returncode == 0
    assert writ(*where, "prepare", "--root", str(safe), "--out", str(tmp_path / "again")).returncode == 0
    assert (tmp_path / "again").read_bytes() == change.read_bytes()
    assert rotate(mesh, "prepare", "--change", str(change), "--dry-run")["dry_run"]
    assert [one["state"] for one in rotate(mesh, "list")] == ["active"]
    rotate(mesh, "prepare", "--change", str(change))
    code, said = refused(mesh, *where, "activate")
    assert (code, "hint: writ root rotate activate --request" in said) == (Exit.CONFLICT, True)
    code, _ = refused(mesh, *where, "activate", "--delegation", str(change))
    assert code == Exit.USAGE
    assert "root 1 is active, root 2 is prepared" in writ("check", config=mesh.context_file).stdout
    rotate(mesh, "activate", "--request", str(newest))
    done = writ(*where, "sign", "--root", str(safe), "--request", str(newest), "--out", str(given))
    assert done.returncode == 0, done.stderr
    assert rotate(mesh, "activate", "--delegation", str(given))["behind"] == []
    csr, signed = tmp_path / "cas.csr", tmp_path / "cas.pem"
    before = {kind: key for kind, key in by_kind(mesh, "active").items() if kind != "jwt"}
    shown(mesh, "prepare", "--csr", str(csr))
    words = ("--root", str(safe), "--csr", str(csr), "--certificate", str(signed))
    assert writ("root", "sign", *words).returncode == 0
    shown(mesh, "prepare", "--certificate", str(signed))
    shown(mesh, "activate")
    assert set(before.values()).isdisjoint(by_kind(mesh, "active").values())
    code, said = refused(mesh, *where, "retire", "--yes")
    assert (code, all(key in said for key in before.values())) == (Exit.CONFLICT, True)
    assert len(rotate(mesh, "retire", "--dry-run")["below_old"]) == len(before)
    assert writ("operator", "renew", config=mesh.context_file).returncode == 0
    done = rotate(mesh, "retire", "--force")
    assert [one["state"] for one in done["roots"]] == ["retired", "active"]
    assert by_kind(mesh, "old") == {}
    mesh.control_plane.kill()
    mesh.start_control_plane()
    assert [one["state"] for one in rotate(mesh, "list")] == ["retired", "active"]


@pytest.mark.parametrize(
    "words",
    [(), ("--root", "x"), ("--out", "x"), ("--change", "x", "--out", "y"), ("--root", "x", "--change", "y")],
)
def test_the_next_root_is_made_or_handed_on(words) -> None:
    done = writ("root", "rotate", "prepare", *words)
    assert (done.returncode, "hint: --root DIR --out FILE" in done.stderr) == (Exit.USAGE, True)


def stands(mesh) -> str:
    """How far it has come, as the control plane keeps it beside its keys. No operator is below the new root yet."""
    return json.loads((root_of(mesh) / "root-changes.json").read_text())[-1]["state"]


STEPS = {
    "root.prepared": (("prepare",), "prepared"),
    "root.activated": (("activate",), "active"),
    "root.retired": (("retire", "--force"), "done"),
}


@pytest.mark.parametrize("failpoint", STEPS)
def test_a_control_plane_that_dies_in_a_step_comes_back_with_the_whole_of_it(
    mesh, tmp_path, failpoint: str
) -> None:
    change = tmp_path / "change"
    assert (
        writ("root", "rotate", "prepare", "--root", str(root_of(mesh)), "--out", str(change)).returncode == 0
    )
    mesh.control_plane.kill()
    mesh.control_plane.environment["WRIT_FAILPOINT"] = failpoint
    mesh.start_control_plane()
    for name, (words, state) in STEPS.items():
        more = ("--change", str(change)) if words == ("prepare",) else ()
        done = writ("root", "rotate", *words, *more, "--yes", config=mesh.context_file)
        if name != failpoint:
            assert done.returncode == 0, done.stderr
            continue
        assert done.returncode == Exit.UNREACHABLE
        mesh.control_plane.child.wait(10)
        del mesh.control_plane.environment["WRIT_FAILPOINT"]
        mesh.start_control_plane()
        eventually(lambda: stands(mesh) == state)  # noqa: B023 - in this turn
        break
