"""`writ operator`: a person becomes one, renews, is taken away; and the way back in when nobody is left."""

import json

import pytest
from commands import writ

from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("operator"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


def joined(mesh: Mesh, home, name: str, *words: str):
    """A person with a home of his own: his context file."""
    config = home / name / "config.toml"
    (home / f"{name}.csr").write_text(writ("operator", "request", name, config=config).stdout)
    request = ("--request", str(home / f"{name}.csr"))
    added = writ("operator", "add", name, *words, *request, config=mesh.context_file)
    assert added.returncode == 0, added.stderr
    (home / f"{name}.grant").write_text(added.stdout)
    accepted = writ("operator", "accept", str(home / f"{name}.grant"), config=config)
    assert accepted.returncode == 0, accepted.stderr
    return config


def test_a_person_becomes_an_operator_and_his_key_never_travels(mesh, tmp_path) -> None:
    config = joined(mesh, tmp_path, "anna", "--role", "operator", "--site", "paris", "--hours", "2")
    assert "PRIVATE" not in (tmp_path / "anna.csr").read_text() + (tmp_path / "anna.grant").read_text()
    assert all(path.stat().st_mode & 0o077 == 0 for path in config.parent.iterdir())
    assert writ("token", "create", "gpu-1.paris", config=config).returncode == 0
    refused = writ("site", "add", "berlin", "--jurisdiction", "DE", config=config)
    assert (refused.returncode, "`anna` is operator, and `AddSite` is for admin" in refused.stderr) == (
        Exit.DENIED,
        True,
    )
    listed = json.loads(writ("operator", "list", "-o", "json", config=mesh.context_file).stdout)
    assert [(o["name"], o["role"], o["sites"], o["hours"]) for o in listed] == [
        ("admin", "admin", [], 12),
        ("anna", "operator", ["paris"], 2),
    ]


def test_renewing_changes_key_and_certificate_and_leaves_no_old_file(mesh, tmp_path) -> None:
    config = joined(mesh, tmp_path, "bert", "--role", "auditor")
    before = {path.name: path.read_bytes() for path in config.parent.glob("*.pem")}
    done = writ("operator", "renew", config=config)
    assert (done.returncode, "certificate of `bert` until" in done.stderr) == (0, True)
    after = {path.name: path.read_bytes() for path in config.parent.glob("*.pem")}
    assert len(after) == len(before) == 3
    assert not set(before) & set(after)
    assert writ("node", "list", config=config).returncode == 0


def test_removed_at_once_and_a_dry_run_changes_nothing(mesh, tmp_path) -> None:
    config = joined(mesh, tmp_path, "carl", "--role", "ci")
    dry = writ("operator", "set", "carl", "--role", "admin", "--dry-run", config=mesh.context_file)
    assert "nothing was changed" in dry.stderr
    assert writ("site", "add", "rome", "--jurisdiction", "IT", config=config).returncode == Exit.DENIED
    assert writ("operator", "set", "carl", "--role", "auditor", config=mesh.context_file).returncode == 0
    assert writ("operator", "remove", "carl", config=mesh.context_file).returncode != 0  # it asks first
    assert writ("node", "list", config=config).returncode == 0
    assert writ("operator", "remove", "carl", "--yes", config=mesh.context_file).returncode == 0
    gone = writ("node", "list", config=config)
    assert (gone.returncode, "`carl` is no operator" in gone.stderr) == (Exit.DENIED, True)


def test_an_administrator_renews_for_whoever_slept_too_long(mesh, tmp_path) -> None:
    joined(mesh, tmp_path, "dora", "--role", "auditor")
    later = tmp_path / "later" / "config.toml"
    (tmp_path / "again.csr").write_text(writ("operator", "request", "dora", config=later).stdout)
    words = ("operator", "renew", "--for", "dora", "--request", str(tmp_path / "again.csr"))
    (tmp_path / "again.grant").write_text(writ(*words, config=mesh.context_file).stdout)
    assert writ("operator", "accept", str(tmp_path / "again.grant"), config=later).returncode == 0
    assert writ("node", "list", config=later).returncode == 0


def test_a_grant_is_accepted_only_for_the_key_that_waits(mesh, tmp_path) -> None:
    joined(mesh, tmp_path, "emil", "--role", "auditor")
    grant = json.loads((tmp_path / "emil.grant").read_text())
    other = tmp_path / "other" / "config.toml"
    nowhere = writ("operator", "accept", str(tmp_path / "emil.grant"), config=other)
    assert nowhere.returncode == Exit.NOT_FOUND
    assert writ("operator", "request", "emil", config=other).returncode == 0
    wrong = writ("operator", "accept", str(tmp_path / "emil.grant"), config=other)
    assert (wrong.returncode, other.exists()) == (Exit.VERIFICATION, False)
    for bent in (
        {},
        {**grant, "more": "x"},
        {**grant, "name": "../../x"},
        {**grant, "certificate": "none"},
        [],
    ):
        (tmp_path / "bent").write_text(json.dumps(bent))
        assert writ("operator", "accept", str(tmp_path / "bent"), config=other).returncode == Exit.USAGE
    assert not other.exists()


def test_whoever_holds_the_machine_gets_back_in_at_the_next_start(tmp_path) -> None:
    """Every certificate has ended, or the last file is lost: the keys of the machine make an administrator, and it is recorded."""
    with Mesh(tmp_path, lease_s=60, heartbeat_s=1.0) as mesh:
        mesh.init()
        mesh.start_control_plane()
        mesh.site("paris", "FR")
        settings = str(mesh.directory / "controlplane.toml")
        config = tmp_path / "rescue" / "config.toml"
        made = writ("controlplane", "operator", "rescuer", "--config", settings, config=config)
        assert made.returncode == 0, made.stderr
        assert writ("node", "list", config=config).returncode == Exit.DENIED  # not before the start
        mesh.control_plane.kill()
        mesh.start_control_plane()
        assert writ("operator", "list", config=config).returncode == 0
        assert writ("operator", "remove", "rescuer", "--yes", config=mesh.context_file).returncode == 0
        mesh.control_plane.kill()
        mesh.start_control_plane()
        assert writ("node", "list", config=config).returncode == Exit.DENIED  # not brought back
        mesh.control_plane.kill(15)
        log = mesh.directory / "controlplane" / "evidence"
        calls = json.loads(writ("audit", "admin", str(log), "--call", "appoint", "-o", "json").stdout)
        assert [one["target"] for one in calls] == ["admin", "rescuer"]
