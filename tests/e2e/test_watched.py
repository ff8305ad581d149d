"""A mesh that is watched: every documented name is there and no other, ready follows what is really enforced."""

import contextlib
import json
import re
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import mesh as meshes
import pytest
from clients import operator
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from controlplane.cli.demo.mesh import Mesh

DOCUMENTED = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WRIT_METRICS__LISTEN", "127.0.0.1:0")
        made = meshes.start(tmp_path_factory.mktemp("watched"), lease_max_s=5)
    with made:
        yield made


def get(port: int, path: str) -> tuple[int, str]:
    with (
        contextlib.suppress(urllib.error.HTTPError),
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as ok,
    ):
        return ok.status, ok.read().decode()
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}{path}")
    except urllib.error.HTTPError as exc:
        return exc.code, exc.read().decode()
    raise AssertionError("it changed its mind")


def control_plane_port(mesh: Mesh) -> int:
    return int(mesh.control_plane.ports()["metrics"])


def agent_port(mesh: Mesh, name: str = meshes.CALLEE) -> int:
    return mesh.nodes[name].known_ports["metrics"]


def wait_ready(port: int, status: int) -> str:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found, text = get(port, "/ready")
        if found == status:
            return text
        time.sleep(0.02)
    raise AssertionError(f"still {found}: {text}")


def scraped(port: int) -> dict[str, dict[tuple[str, ...], float]]:
    status, page = get(port, "/metrics")
    assert status == 200
    return {
        sample.name: {tuple(sample.labels.values()): sample.value}
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_the_table_names_what_is_exposed_and_nothing_else(mesh) -> None:
    table = dict(re.findall(r"^\| `(writ_\w+)` \| (gauge|counter) ", DOCUMENTED.read_text(), re.MULTILINE))
    exposed: dict[str, str] = {}
    for port in (control_plane_port(mesh), agent_port(mesh)):
        for family in text_string_to_metric_families(get(port, "/metrics")[1]):
            name = f"{family.name}_total" if family.type == "counter" else family.name
            exposed[name] = family.type
    assert exposed == table


def test_both_are_live_and_ready_once_the_mesh_enforces(mesh) -> None:
    for port in (control_plane_port(mesh), agent_port(mesh)):
        assert wait_ready(port, 200) == "ok\n"
        assert get(port, "/live") == (200, "ok\n")
        assert get(port, "/")[0] == get(port, "/metrics/../ready")[0] == 404


def test_decisions_are_counted_by_code(mesh) -> None:
    assert meshes.ask(mesh) == "allowed"
    assert meshes.ask(mesh, purpose="research") == "no_permit"
    deadline = time.monotonic() + 10
    wanted = re.compile(r'writ_agent_decisions_total\{code="no_permit"\} [1-9]')
    while not wanted.search(page := get(agent_port(mesh, meshes.CALLER), "/metrics")[1]):
        assert time.monotonic() < deadline, page
        time.sleep(0.02)


def test_what_is_no_request_gets_no_answer_and_harms_nobody(mesh) -> None:
    port = agent_port(mesh)
    for sent in (
        b"\r\n\r\n",
        b"POST /ready HTTP/1.1\r\n\r\n",
        b"GET\r\n\r\n",
        b"x" * 20_000 + b"\r\n\r\n",
        b"\x00\xff",
    ):
        with socket.create_connection(("127.0.0.1", port)) as raw, contextlib.suppress(OSError):
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            assert b" 200 " not in raw.recv(100)
    assert get(port, "/live")[0] == 200


def test_grpc_health_is_served_on_the_api(mesh) -> None:
    with operator(mesh) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "writ.v1.Sync", "writ.v1.Admin"):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_dead_envoy_makes_a_node_not_ready_until_the_next_one_enforces(mesh) -> None:
    port = agent_port(mesh)
    before = scraped(port)["writ_agent_gaps_total"][()]
    mesh.nodes[meshes.CALLEE].kill_envoy()
    wait_ready(port, 503)
    wait_ready(port, 200)
    after = scraped(port)
    assert after["writ_agent_gaps_total"][()] == before + 1
    assert after["writ_agent_envoy_starts_total"][()] == 2


def test_a_node_that_is_told_nothing_more_turns_red_while_it_can_still_act(mesh) -> None:
    mesh.revoke(meshes.CALLER)  # its stream ends at once; the reason never reaches it
    reasons = wait_ready(agent_port(mesh, meshes.CALLER), 503).splitlines()
    assert [reason for reason in reasons if re.fullmatch(r"lease ends in [01] s", reason)] == reasons


def test_nothing_listens_unless_it_is_asked_to(tmp_path) -> None:
    with Mesh(tmp_path) as quiet:
        quiet.init()
        quiet.start_control_plane()
        assert set(json.loads(quiet.control_plane.ports_file.read_text())) == {"api", "enrolment"}


def test_a_port_that_is_taken_ends_the_start_with_one_error(tmp_path) -> None:
    with Mesh(tmp_path) as mesh, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        mesh.init()
        mesh.control_plane.environment["WRIT_METRICS__LISTEN"] = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(Exception, match="cannot listen on"):
            mesh.start_control_plane()
