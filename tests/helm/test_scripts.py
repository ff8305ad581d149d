"""The scripts that the chart runs, run: a mesh is made once, a replica starts from what was kept, policies follow files."""

import base64
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import charts
import pytest
from commands import writ

from controlplane.cli.demo.mesh import Mesh

SCRIPTS = charts.CHART / "files"
GOOD = '@id("chat")\npermit (principal, action == Action::"chat", resource);\n'


class Api:
    """The two calls of the API server that the Job makes, as it answers them; what it holds."""

    def __init__(self) -> None:
        self.secrets: dict[str, dict] = {}
        self.configmaps: dict[str, dict] = {}
        api = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name, held = self.path.rpartition("/")[2], api.held(self.path)
                self._answer(200 if name in held else 404, held.get(name, {}))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                kind = "secrets" if body["kind"] == "Secret" else "configmaps"
                assert self.path == f"/api/v1/namespaces/writ/{kind}"
                taken = api.held(self.path).setdefault(body["metadata"]["name"], body) is not body
                self._answer(409 if taken else 201, body)

            def _answer(self, status: int, body: dict) -> None:
                data = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def held(self, path: str) -> dict[str, dict]:
        return self.secrets if "/secrets" in path else self.configmaps

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def api():
    made = Api()
    yield made
    made.server.shutdown()
    made.server.server_close()


def run(name: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(SCRIPTS / name), *words],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def bootstrap(api: Api, tmp_path: Path, work: str = "work") -> subprocess.CompletedProcess[str]:
    (tmp_path / work).mkdir(exist_ok=True)
    (tmp_path / "passphrase").write_text("a long random passphrase")
    return run(
        "bootstrap.py",
        KUBERNETES_API=api.url,
        NAMESPACE="writ",
        ROOT_SECRET="writ-root",
        OPERATOR_SECRET="writ-operator",
        TRUST_CONFIGMAP="writ-trust",
        TRUST_DOMAIN="acme.example",
        API_ADDRESS="writ.writ.svc:8443",
        ENROLMENT_ADDRESS="writ.writ.svc:8444",
        OPERATOR="admin",
        WORK_DIR=str(tmp_path / work),
        WRIT_KEY_PASSPHRASE_FILE=str(tmp_path / "passphrase"),
    )


def prepare(
    api: Api, tmp_path: Path, state: Path, root_online: str = "false"
) -> subprocess.CompletedProcess[str]:
    (tmp_path / "prepared").mkdir(exist_ok=True)
    (tmp_path / "state.tgz").write_bytes(base64.b64decode(api.secrets["writ-root"]["data"]["state.tgz"]))
    return run(
        "prepare.py",
        STATE_DIR=str(state),
        WORK_DIR=str(tmp_path / "prepared"),
        ROOT_MATERIAL=str(tmp_path / "state.tgz"),
        FIRST_REPLICA="writ-controlplane-0",
        ROOT_ONLINE=root_online,
        WRIT_KEY_PASSPHRASE_FILE=str(tmp_path / "passphrase"),
    )


def test_a_mesh_is_made_once_and_never_again(api, tmp_path) -> None:
    assert bootstrap(api, tmp_path).returncode == 0
    made = json.dumps(api.secrets, sort_keys=True)
    assert set(api.secrets) == {"writ-root", "writ-operator"}
    with tarfile.open(
        fileobj=io.BytesIO(base64.b64decode(api.secrets["writ-root"]["data"]["state.tgz"]))
    ) as kept:
        root = json.load(kept.extractfile("./authorities.json"))["root"]
    trusted = hashlib.sha256(bytes.fromhex(root)).hexdigest()
    assert api.configmaps["writ-trust"]["data"] == {"root_sha256": trusted}
    again = bootstrap(api, tmp_path, "another")
    assert (again.returncode, "nothing to do" in again.stdout) == (0, True)
    assert json.dumps(api.secrets, sort_keys=True) == made


def test_a_run_that_was_cut_off_is_finished_by_the_next_in_the_same_pod(api, tmp_path) -> None:
    assert bootstrap(api, tmp_path).returncode == 0
    root = api.secrets.pop("writ-root")  # as if it had ended between the two
    assert bootstrap(api, tmp_path).returncode == 0
    assert api.secrets["writ-root"]["metadata"] == root["metadata"]


def test_an_operator_of_an_earlier_mesh_stops_it_before_there_is_a_root(api, tmp_path) -> None:
    assert bootstrap(api, tmp_path).returncode == 0
    del api.secrets["writ-root"]
    other = bootstrap(api, tmp_path, "another")
    assert (other.returncode, "hint: delete it" in other.stderr) == (1, True)
    assert "writ-root" not in api.secrets


def test_a_replica_starts_from_what_was_kept_without_the_roots_key(api, tmp_path) -> None:
    assert bootstrap(api, tmp_path).returncode == 0
    state = tmp_path / "volume" / "controlplane"
    assert prepare(api, tmp_path, state).returncode == 0
    assert not (state / "keys" / "root.pem").exists()
    assert not list((tmp_path / "prepared").iterdir())
    assert {path.stat().st_mode & 0o777 for path in (state / "keys").iterdir()} == {0o600}
    with Mesh(tmp_path) as mesh:  # the real control plane, on these keys, with the operator that was kept
        mesh.context_file.parent.mkdir()
        for name, data in api.secrets["writ-operator"]["data"].items():
            (mesh.context_file.parent / name).write_bytes(base64.b64decode(data))
        settings = f'trust_domain = "acme.example"\nstate_dir = "{state}"\n[server]\nlisten = "127.0.0.1:0"\n'
        settings += (
            f'enrolment_listen = "127.0.0.1:0"\n[keys]\npassphrase_file = "{tmp_path / "passphrase"}"\n'
        )
        (tmp_path / "controlplane.toml").write_text(settings)
        mesh.control_plane.ports_file = state / "ports.json"
        mesh.control_plane.start()
        address = f"127.0.0.1:{mesh.control_plane.ports()['api']}"
        text = mesh.context_file.read_text().replace("writ.writ.svc:8443", address)
        mesh.context_file.write_text(text)
        checked = writ("check", "-o", "json", config=mesh.context_file)
    assert checked.returncode == 0, checked.stderr


def test_a_root_that_is_to_be_online_is_kept_by_the_first_replica(api, tmp_path) -> None:
    assert bootstrap(api, tmp_path).returncode == 0
    state = tmp_path / "volume" / "controlplane"
    assert prepare(api, tmp_path, state, root_online="true").returncode == 0
    assert (state / "keys" / "root.pem").stat().st_mode & 0o777 == 0o600


def test_what_is_missing_or_broken_ends_with_one_error_and_nothing_made(api, tmp_path) -> None:
    away = run("bootstrap.py", KUBERNETES_API="http://127.0.0.1:1", NAMESPACE="writ", ROOT_SECRET="r")
    assert (away.returncode, away.stderr.count("\n"), "Traceback" in away.stderr) == (1, 2, False)
    api.secrets["writ-root"] = {"data": {"state.tgz": base64.b64encode(b"no archive").decode()}}
    state = tmp_path / "volume" / "controlplane"
    broken = prepare(api, tmp_path, state)
    assert (broken.returncode, "is not what a mesh is made of" in broken.stderr) == (1, True)
    assert ("Traceback" in broken.stderr, state.exists()) == (False, False)


def test_a_replica_that_has_keys_keeps_them(api, tmp_path) -> None:
    assert bootstrap(api, tmp_path).returncode == 0
    state = tmp_path / "volume" / "controlplane"
    prepare(api, tmp_path, state)
    (state / "keys" / "node-ca-1.pem").write_text("what it has")
    assert "has its keys" in prepare(api, tmp_path, state).stdout
    assert (state / "keys" / "node-ca-1.pem").read_text() == "what it has"


# --- policies as code ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("gitops"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        yield made


def test_policies_follow_their_files_and_a_bad_set_leaves_the_one_in_force(mesh, tmp_path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    given = {
        "POLICIES": str(policies),
        "STATUS_FILE": str(tmp_path / "status.json"),
        "WRIT_CONFIG": str(mesh.context_file),
        "INTERVAL_S": "1",
    }

    def once() -> tuple[str, int]:
        done = run("reconcile.py", "--once", **given)
        probe = run("reconcile.py", "--ready", **given).returncode
        assert done.returncode == probe, done.stderr
        return json.loads(done.stdout)["state"], mesh_version()

    def mesh_version() -> int:
        listed = writ("policy", "history", "-o", "json", config=mesh.context_file)
        return int(json.loads(listed.stdout)["policy_now"])

    assert once() == ("no files", 0)
    (policies / "a.cedar").write_text(GOOD)
    assert once() == ("in force", 1)
    assert once() == ("in force", 1)  # what is equal is not applied again
    (policies / "b.cedar").write_text("permit (principal, action, resource) when { context.nothing == 1 };\n")
    assert once() == ("refused", 1)
    (policies / "b.cedar").unlink()
    assert once() == ("in force", 1)
    (policies / "a.cedar").unlink()
    assert once() == ("no files", 1)


def test_a_control_plane_that_is_away_is_said_and_not_ready(mesh, tmp_path) -> None:
    (tmp_path / "a.cedar").write_text(GOOD)
    config = tmp_path / "config.toml"
    text = mesh.context_file.read_text().replace(mesh.context().address, "127.0.0.1:1")
    config.write_text(text.replace('"demo.', f'"{mesh.context_file.parent}/demo.'))
    given = {"POLICIES": str(tmp_path), "STATUS_FILE": str(tmp_path / "s"), "WRIT_CONFIG": str(config)}
    done = run("reconcile.py", "--once", **given)
    assert (done.returncode, json.loads(done.stdout)["state"]) == (1, "unreachable")
