"""A small mesh of real processes for end-to-end tests: a caller in Paris, a callee in Berlin, a real language model."""

from collections.abc import Callable
from pathlib import Path

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh, Node

CALLER, CALLEE = "app-1.paris", "gpu-1.berlin"
ATTRIBUTES = admin_pb2.Attributes(
    groups=["clinical"], purposes=["treatment", "research"], tier=2, class_ceiling=4
)
TREATMENT = {"purpose": "treatment", "data-class": "1"}
POLICY = """
@id("clinical-inference")
permit (principal in Group::"clinical", action in [Action::"infer", Action::"embed"], resource in ModelGroup::"clinical")
when { context.purpose == "treatment" };
@id("list-models")
permit (principal in Group::"clinical", action == Action::"discover", resource);
"""


def start(
    directory: Path,
    *,
    lease_max_s: int = 0,
    svid_s: int = 3600,
    lease_s: int = 60,
    before: Callable[[Mesh], None] = lambda _: None,
) -> Mesh:
    """Enrolled, enforcing and ready. `before` the agents start, a test may change what they find."""
    mesh = Mesh(directory, lease_s=lease_s, heartbeat_s=0.5, svid_s=svid_s)
    try:
        mesh.init()
        mesh.start_control_plane()
        mesh.site("paris", "FR")
        mesh.site("berlin", "DE")
        mesh.prepare(CALLER, ATTRIBUTES, serve=False, lease_max_s=lease_max_s)
        mesh.prepare(CALLEE, ATTRIBUTES)
        port = mesh.server_port(CALLEE)
        common = {"node": "gpu-1", "site": "berlin", "port": port, "max_class": 4}
        mesh.resources(
            admin_pb2.Resource(kind="Model", name="ngram", groups=["clinical"], **common),
            admin_pb2.Resource(kind="Service", name="openai", **common),
            groups=[("ModelGroup", "clinical")],
        )
        mesh.policy(POLICY)
        before(mesh)
        for node in mesh.nodes.values():
            node.agent.start()
        for node in mesh.nodes.values():
            node.agent.ports()
        mesh.wait_enforced()
    except BaseException:
        mesh.stop()
        raise
    return mesh


def ask(mesh: Mesh, **changes: str) -> str:
    """The denial code of one chat request, or `allowed`."""
    outcome = calls.chat(caller(mesh), CALLEE, {**TREATMENT, **changes})
    return outcome.code or "allowed"


def caller(mesh: Mesh) -> Node:
    return mesh.nodes[CALLER]


def callee(mesh: Mesh) -> Node:
    return mesh.nodes[CALLEE]
