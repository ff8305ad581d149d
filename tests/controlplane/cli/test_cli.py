"""The operator's command: exit codes, hints, files that are refused, and what help costs."""

import json
import subprocess
import sys

import pytest

from controlplane.cli import documents, output
from controlplane.cli.app import hoist
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError, Exit

WRIT = [sys.executable, "-c", "from controlplane.cli.app import run; run()"]


def writ(*words: str, config=None) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        **({"WRIT_CONFIG": str(config)} if config else {}),
    }
    return subprocess.run(
        [*WRIT, *words], capture_output=True, text=True, timeout=60, env=environment, check=False
    )


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cli"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        yield made


def test_global_options_may_stand_anywhere() -> None:
    assert hoist(["node", "list", "-o", "json", "--yes"]) == ["-o", "json", "--yes", "node", "list"]
    assert hoist(["--", "-o"]) == ["--", "-o"]


def test_help_loads_nothing_heavy() -> None:
    code = "import sys; from controlplane.cli import app; print([m for m in ('grpc', 'rich', 'cryptography', 'yaml') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.replace("'", '"')) in ([], ["yaml"])


def test_without_a_context_it_says_what_to_do() -> None:
    done = writ("status")
    assert done.returncode == Exit.USAGE
    assert "hint: make a control plane with `writ init`" in done.stderr


def test_a_session_from_site_to_node(mesh) -> None:
    config = mesh.context_file
    assert writ("site", "add", "paris", "--jurisdiction", "fr", config=config).returncode == 0
    again = writ("site", "add", "paris", "--jurisdiction", "DE", config=config)
    assert (again.returncode, "exists and is different" in again.stderr) == (Exit.CONFLICT, True)
    made = writ(
        "token",
        "create",
        "gpu-1.paris",
        "--group",
        "clinical",
        "--class-ceiling",
        "3",
        "-o",
        "json",
        config=config,
    )
    assert json.loads(made.stdout)["token"].startswith("writ1.")
    shown = json.loads(writ("node", "show", "gpu-1.paris", "-o", "json", config=config).stdout)
    assert (shown["state"], shown["attributes"]["groups"]) == ("invited", ["clinical"])
    fields = dict(
        line.split(maxsplit=1)
        for line in writ("node", "show", "gpu-1.paris", config=config).stdout.splitlines()
    )
    assert (fields["connected"], fields["not_after"], fields["serial"]) == ("no", "-", "-")
    assert writ("node", "show", "nobody.paris", config=config).returncode == Exit.NOT_FOUND
    assert writ("node", "show", "nobody", config=config).returncode == Exit.USAGE
    assert "gpu-1.paris" in writ("node", "list", config=config).stdout


def test_revoking_asks_first_and_a_dry_run_changes_nothing(mesh) -> None:
    config = mesh.context_file
    writ("token", "create", "asked.paris", config=config)
    assert writ("node", "revoke", "asked.paris", config=config).returncode != 0
    assert "nothing was changed" in writ("node", "revoke", "asked.paris", "--dry-run", config=config).stderr
    assert (
        json.loads(writ("node", "show", "asked.paris", "-o", "json", config=config).stdout)["state"]
        == "invited"
    )
    assert writ("node", "revoke", "asked.paris", "--yes", config=config).returncode == 0
    assert (
        json.loads(writ("node", "show", "asked.paris", "-o", "json", config=config).stdout)["state"]
        == "revoked"
    )


def test_a_policy_with_an_error_is_named_by_file_and_line_and_changes_nothing(mesh, tmp_path) -> None:
    bad = tmp_path / "bad.cedar"
    bad.write_text('\n@id("a")\npermit (principal, action, resource) when { context.nothing == 1 };\n')
    for verb in ("lint", "apply"):
        done = writ("policy", verb, str(bad), config=mesh.context_file)
        assert done.returncode == Exit.FAILED
        assert "bad.cedar:3" in done.stderr
    assert "no policy yet" in writ("policy", "list", config=mesh.context_file).stderr


def test_an_unreachable_control_plane_is_said(tmp_path, mesh) -> None:
    config = tmp_path / "config.toml"
    text = mesh.context_file.read_text().replace(mesh.context().address, "127.0.0.1:1")
    config.write_text(text.replace('"demo.', f'"{mesh.context_file.parent}/demo.'))
    done = writ("status", "--timeout", "3", config=config)
    assert (done.returncode, "cannot be reached" in done.stderr) == (Exit.UNREACHABLE, True)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("resources: [{kind: Model, name: a, node: n.s, port: 1, prot: 2}]", "unknown field `prot`"),
        ("groups: [{kind: Group, name: a, groups: b}]", "`groups` must be a list"),
        ("resources: [{kind: Model, name: a, node: n.s}]", "lacks `port`"),
        ("resources: [{kind: Model, name: a, node: n.s, port: http}]", "`port` must be a int"),
        ("resources: [{kind: Model, name: a, node: n.s, port: 70000}]", "`port` must be a int"),
        ("resources: {}\nresources: {}", "occurs twice"),
        ("a: &a [1]\nb: *a", "aliases are not allowed"),
        ("- 1", "must hold `resources` and `groups`"),
        ("resources: 1", "must be a list"),
        ("resources: [", "not valid YAML"),
        ("!!python/object/apply:os.system ['true']", "not valid YAML"),
    ],
)
def test_files_that_could_be_misread_are_refused(tmp_path, text, match) -> None:
    path = tmp_path / "resources.yaml"
    path.write_text(text)
    with pytest.raises(CliError, match=match):
        documents.read_resources(path)


def test_a_file_that_is_too_large_or_not_text_is_refused(tmp_path) -> None:
    for content, match in ((b"x" * ((1 << 20) + 1), "larger than"), (b"\xff\xfe", "not UTF-8")):
        (tmp_path / "f").write_bytes(content)
        with pytest.raises(CliError, match=match):
            documents.read_text(tmp_path / "f")


def test_names_from_the_network_do_not_drive_the_terminal() -> None:
    assert "\x1b" not in output.safe("\x1b[2Jevil\x07")
