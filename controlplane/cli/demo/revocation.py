"""Step 4 of the demo: a node is revoked while it streams, and comes back under its name."""

import shutil
import time
from pathlib import Path

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh, Node
from controlplane.cli.demo.show import Show

TREATMENT = {"purpose": "treatment", "data-class": "3"}
PROBE_S = 5.0


def cut(mesh: Mesh, show: Show, fr: Node, de: Node, us: Node) -> None:
    """Revoke Paris: its stream is cut, its idle connection denied, Boston's stream goes on; then Paris enrols again."""
    show.step("4. Paris is revoked while it streams")
    stolen = mesh.directory / "stolen-identity.json"
    shutil.copy(fr.state / "identity.json", stolen)
    stream = calls.start_stream(fr, de.name, TREATMENT)
    other = calls.start_stream(us, de.name, TREATMENT)
    idle = calls.Idle(fr, de.name, TREATMENT)
    show.check(
        "Paris has a stream and an idle connection",
        "flowing, allowed",
        f"{_flow(stream)}, {idle.ask().code or 'allowed'}",
    )
    show.command("writ node revoke app-1.paris --reason 'laptop lost' --wait")
    started = time.perf_counter()
    done = mesh.revoke(fr.name, "laptop lost")
    code, after_ms = _first_denial(idle, started)
    show.check("the idle connection's next request", "revoked", code, after_ms)
    stream.ended.wait(PROBE_S)
    cut_ms = (stream.ended_at - started) * 1000
    show.check("the open stream", "cut", "cut" if stream.ended.is_set() else "still flowing", cut_ms)
    enforced = sum(1 for event in _watch(mesh, done.generation) if event.enforced)
    show.check("signed receipts of the other nodes", "2", str(enforced))
    words = other.words
    other.flowing.clear()
    other.flowing.wait(PROBE_S)
    show.check(
        "Boston's stream on the same server", "flowing", "flowing" if other.words > words else "stopped"
    )
    idle.close()
    _return(mesh, show, fr, de, stolen)


def _return(mesh: Mesh, show: Show, fr: Node, de: Node, stolen: Path) -> None:
    show.command("writ node unrevoke app-1.paris && writ token create app-1.paris && writ agent run")
    mesh.call("UnrevokeNode", admin_pb2.GetNodeRequest(node="app-1", site="paris"))
    mesh.token(fr.name)
    fr.agent.kill()
    fr.agent.start()
    fr.agent.ports()
    mesh.wait_enforced()
    outcome = calls.chat(fr, de.name, TREATMENT)
    show.check("Paris, enrolled again (epoch 2)", "allowed", outcome.code or "allowed", outcome.ms)
    ghost = calls.bypass(stolen, de, TREATMENT)
    show.check("the old certificate", "revoked", ghost.code, ghost.ms)


def _flow(stream: calls.Stream) -> str:
    return "flowing" if stream.words and not stream.ended.is_set() else "not flowing"


def _first_denial(idle: calls.Idle, started: float) -> tuple[str, float]:
    """Ask until denied; (code, milliseconds after `started`)."""
    while time.perf_counter() - started < PROBE_S:
        outcome = idle.ask()
        if outcome.code and outcome.code != calls.CUT:
            return outcome.code, (time.perf_counter() - started) * 1000
    return "never", 0.0


def _watch(mesh: Mesh, generation: int) -> list[admin_pb2.Enforcement]:
    wanted = admin_pb2.WatchEnforcementRequest(generation=generation)
    events = []
    for event in mesh.client.stream(mesh.client.stub.WatchEnforcement, wanted, timeout_s=PROBE_S):
        events.append(event)
        if event.last:
            break
    return events
