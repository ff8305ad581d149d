"""`writ check` and `writ status`: what fails, what warns, and that everything that is not well comes with a way out."""

import json
import socket
import time

import pytest
from commands import writ

from controlplane.api.gen import overview_pb2
from controlplane.cli import checks, preflight, status
from controlplane.cli.checks import Here, State
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import Exit
from controlplane.services.overview import URGENCY

NOW = 2_000_000_000
DAY = 86400
HERE = Here(operator_ends=NOW + 10 * 3600, clock_off_s=0.1, now=NOW)


def mesh_message(**changes: object) -> overview_pb2.MeshOverview:
    message = overview_pb2.MeshOverview(
        now_ms=NOW * 1000, generation=4, policy_min=2, policy_now=2, svid_lifetime_s=3600, lease_s=900
    )
    for kind, days in (("root", 3650), ("node-ca", 25), ("control-plane-ca", 25), ("delegation", 300)):
        begins = 0 if kind == "delegation" else NOW - 5 * DAY
        message.authorities.add(kind=kind, not_before=begins, not_after=NOW + days * DAY)
    for name, value in changes.items():
        getattr(message, name).update(value) if isinstance(value, dict) else setattr(message, name, value)
    return message


def unwell(message: overview_pb2.MeshOverview, here: Here = HERE) -> list[tuple[str, State]]:
    found = checks.lines(message, here)
    assert all(bool(line.hint) is (line.state is not State.OK) for line in found)
    return [(line.about, line.state) for line in found if line.state is not State.OK]


def test_all_well_has_no_hint() -> None:
    assert unwell(mesh_message()) == []


def test_every_trouble_that_a_node_can_have_has_a_line() -> None:
    assert set(checks.RULES) == set(URGENCY)


@pytest.mark.parametrize("kind", URGENCY)
def test_a_trouble_shows_with_its_nodes(kind) -> None:
    message = mesh_message(troubles={kind: 5})
    for number in range(4):
        message.attention.add(node=f"n-{number}.paris").troubles.add(kind=kind, text="x")
    assert unwell(message) == [(checks.RULES[kind].about, checks.RULES[kind].state)]
    (line,) = [line for line in checks.lines(message, HERE) if line.hint]
    assert line.text.endswith(": n-0.paris, n-1.paris, n-2.paris and 2 more")


@pytest.mark.parametrize(
    ("left", "state"),
    [(8 * DAY, None), (7 * DAY, State.WARN), (3601, State.WARN), (3600, State.FAIL), (-5, State.FAIL)],
)
def test_an_authority_is_replaced_before_it_is_needed(left, state) -> None:
    message = mesh_message()
    message.authorities[1].not_after = NOW + left
    message.authorities[1].not_before = NOW + left - 30 * DAY
    assert unwell(message) == ([("authorities", state)] if state else [])


@pytest.mark.parametrize(
    ("here", "wanted"),
    [
        ({"clock_off_s": 2.5}, [("clocks", State.WARN)]),
        ({"clock_off_s": -31.0}, [("clocks", State.FAIL)]),
        ({"operator_ends": NOW + 1800}, [("operator", State.WARN)]),
    ],
)
def test_this_machine_counts_too(here, wanted) -> None:
    fields = {"operator_ends": HERE.operator_ends, "clock_off_s": 0.0, "now": NOW, **here}
    assert unwell(mesh_message(), Here(**fields)) == wanted


def test_no_policy_and_a_policy_on_its_way_are_said() -> None:
    assert unwell(mesh_message(policy_min=0, policy_now=0)) == [("versions", State.WARN)]
    assert unwell(mesh_message(policy_min=1)) == [("versions", State.WARN)]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "ended"), (0, "ended"), (59, "59 s"), (60, "1 min"), (119, "119 s"), (900, "15 min"), (3600, "1 h"), (86400, "1 d"), (90000, "25 h")],
)  # fmt: skip
def test_a_span_is_never_rounded_up(seconds, text) -> None:
    assert status.span(seconds) == text


def test_a_port_in_use_fails_the_preflight(monkeypatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(preflight, "PORTS", (("127.0.0.1", port, "egress.listen"),))
        (line,) = [line for line in preflight.lines() if line.about == "ports"]
    assert (line.state, line.hint) == (State.FAIL, "free it, or set egress.listen")


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("check"), lease_s=60, heartbeat_s=1.0) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


def test_a_new_mesh_passes_and_strictly_it_warns_of_no_policy(mesh) -> None:
    done = writ("check", config=mesh.context_file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "hint: `writ policy apply FILE`" in done.stdout
    strict = writ("check", "--strict", "-o", "json", config=mesh.context_file)
    assert strict.returncode == Exit.FAILED
    assert [line["about"] for line in json.loads(strict.stdout) if line["state"] != "ok"] == ["versions"]


def test_status_counts_and_lists(mesh) -> None:
    assert writ("token", "create", "gpu-1.paris", config=mesh.context_file).returncode == 0
    shown = json.loads(writ("status", "-o", "json", config=mesh.context_file).stdout)
    assert (shown["by_state"], shown["node_count"]) == ({"invited": 1}, 1)
    assert [node["node"] for node in shown["nodes"]] == ["gpu-1.paris"]
    assert {end["kind"] for end in shown["authorities"]} - {"root-crl"} == {
        "root",
        "node-ca",
        "control-plane-ca",
        "workload-ca",
        "delegation",
    }
    assert abs(shown["now_ms"] / 1000 - time.time()) < 60
    assert "1 min alone, then deny; cut off" in writ("status", config=mesh.context_file).stdout


def test_a_control_plane_that_cannot_be_reached_is_a_failed_check(tmp_path, mesh) -> None:
    config = tmp_path / "config.toml"
    text = mesh.context_file.read_text().replace(mesh.context().address, "127.0.0.1:1")
    config.write_text(text.replace('"demo.', f'"{mesh.context_file.parent}/demo.'))
    done = writ("check", "-o", "json", "--timeout", "2", config=config)
    assert done.returncode == Exit.UNREACHABLE
    assert [(line["about"], line["state"]) for line in json.loads(done.stdout)] == [("control plane", "fail")]


def test_a_node_is_no_operator_for_the_overview(mesh) -> None:
    import grpc
    from clients import ask, channel_of, enrolment, root_and_ca, token

    from agent import identity
    from certs import keys
    from controlplane.api.gen import overview_pb2_grpc

    path = mesh.directory / "probe-token"
    _, ca = root_and_ca(mesh, token(mesh, "probe"), path)
    key = keys.generate_p256()
    chain = ask(enrolment(mesh, ca), token(mesh, "curious"), key).chain
    with channel_of(mesh, keys.dump_private(key, None), identity.pem(*chain)) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            overview_pb2_grpc.OverviewStub(channel).GetOverview(overview_pb2.GetOverviewRequest(), timeout=10)
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
