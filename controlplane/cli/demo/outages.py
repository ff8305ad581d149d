"""Step 5 of the demo: the control plane dies. Traffic goes on; a short lease fails closed; everything heals."""

import time

from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh, Node
from controlplane.cli.demo.show import Show

TREATMENT = {"purpose": "treatment", "data-class": "3"}
PATIENCE_S = 15.0


def control_plane(mesh: Mesh, show: Show, fr: Node, de: Node, us: Node) -> None:
    """Kill it, wait for Boston's lease of a few seconds, bring it back."""
    show.step("5. The control plane dies")
    show.command("kill -9 $(pidof writ-controlplane)")
    mesh.control_plane.kill()
    outcome = calls.chat(fr, de.name, TREATMENT)
    show.check("Paris → Berlin meanwhile", "allowed", outcome.code or "allowed", outcome.ms)
    started = time.perf_counter()
    code = _until(us, de, denied=True)
    show.check("Boston, whose lease is 5 s", "lease_expired", code, (time.perf_counter() - started) * 1000)
    outcome = calls.chat(fr, de.name, TREATMENT)
    show.check("Paris, whose lease is 60 s", "allowed", outcome.code or "allowed", outcome.ms)
    show.command("writ controlplane run")
    started = time.perf_counter()
    mesh.start_control_plane()
    code = _until(us, de, denied=False)
    show.check("Boston, once it has heard again", "allowed", code, (time.perf_counter() - started) * 1000)
    mesh.wait_enforced()
    show.check("all three are back", "connected", "connected")


def _until(node: Node, peer: Node, *, denied: bool) -> str:
    """Ask until the answer is denied, or allowed; what the last one was."""
    deadline = time.perf_counter() + PATIENCE_S
    while True:
        outcome = calls.chat(node, peer.name, TREATMENT)
        if bool(outcome.code) is denied or time.perf_counter() > deadline:
            return outcome.code or "allowed"
        time.sleep(0.02)
