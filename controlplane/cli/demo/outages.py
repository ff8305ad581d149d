"""The control plane dies. One of several: nobody notices. All of it: traffic goes on, a short lease fails closed, all heals."""

import time

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh, Node
from controlplane.cli.demo.show import Show

TREATMENT = {"purpose": "treatment", "data-class": "3"}
PATIENCE_S = 15.0


def replica(mesh: Mesh, show: Show, fr: Node, de: Node) -> None:
    """Kill one replica for good: agents move to another, which issues, publishes and revokes as well."""
    show.step(f"3b. One of {len(mesh.replicas)} control planes dies")
    first = mesh.replicas[0]
    show.command(f"kill -9 $(pidof {first.name})")
    before = mesh.find(fr.name).serial
    started = time.perf_counter()
    first.process.kill()
    outcome = calls.chat(fr, de.name, TREATMENT)
    show.check("Paris → Berlin meanwhile", "allowed", outcome.code or "allowed", outcome.ms)
    mesh.connect()
    mesh.wait_enforced()
    show.check("all three moved to another", "connected", "connected", (time.perf_counter() - started) * 1000)
    show.command("writ node renew app-1.paris")
    started = time.perf_counter()
    mesh.call("RenewNode", admin_pb2.GetNodeRequest(node="app-1", site="paris"))
    deadline = started + PATIENCE_S
    while mesh.find(fr.name).serial == before and time.perf_counter() < deadline:
        time.sleep(0.01)
    renewed = "renewed" if mesh.find(fr.name).serial != before else "not renewed"
    show.check("Paris, by another CA", "renewed", renewed, (time.perf_counter() - started) * 1000)


def control_plane(mesh: Mesh, show: Show, fr: Node, de: Node, us: Node) -> None:
    """Kill it, wait for Boston's lease of a few seconds, bring it back."""
    show.step("5. The control plane dies")
    show.command("kill -9 $(pidof writ-controlplane)")
    for one in mesh.replicas:
        one.process.kill()
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
