"""The mesh that benchmarks run on: the demo's, with a backend that costs nothing."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.mesh import Mesh

CLINICAL = admin_pb2.Attributes(groups=["clinical"], purposes=["treatment"], tier=2, class_ceiling=4)
POLICY = """
@id("clinical-inference")
permit (principal in Group::"clinical", action in [Action::"infer", Action::"embed"], resource in ModelGroup::"clinical")
when { context.purpose == "treatment" && context.data_class <= 3 };
@id("list-models")
permit (principal in Group::"clinical", action == Action::"discover", resource);
"""
CALLER, CALLEE = "app-1.paris", "gpu-1.berlin"


@contextmanager
def backend(directory: Path) -> Iterator[int]:
    """The port of a backend that costs nothing, while it is needed."""
    port_file = directory / "backend.port"
    process = subprocess.Popen([sys.executable, str(Path(__file__).with_name("backend.py")), str(port_file)])
    try:
        while not port_file.exists():
            time.sleep(0.01)
        yield int(port_file.read_text())
    finally:
        process.kill()
        process.wait()


def serve(mesh: Mesh, name: str, port: int) -> None:
    """One more model at the callee, served at another port."""
    common = {"node": "gpu-1", "site": "berlin", "groups": ["clinical"], "max_class": 4}
    mesh.resources(admin_pb2.Resource(kind="Model", name=name, port=port, **common))
    mesh.wait_enforced()


def two_nodes(directory: Path, port: int | None, **timing: float) -> Mesh:
    """A caller and a callee, enforced and ready. `port` None: the demo's language model."""
    mesh = Mesh(directory / "mesh", **timing)  # type: ignore[arg-type]
    (directory / "mesh").mkdir()
    mesh.init()
    mesh.start_control_plane()
    mesh.site("paris", "FR")
    mesh.site("berlin", "DE")
    mesh.prepare(CALLER, CLINICAL, serve=False)
    mesh.prepare(CALLEE, CLINICAL, serve=port is None)
    served = port or mesh.server_port(CALLEE)
    mesh.resources(
        admin_pb2.Resource(
            kind="Model",
            name="ngram",
            node="gpu-1",
            site="berlin",
            groups=["clinical"],
            max_class=4,
            port=served,
        ),
        admin_pb2.Resource(kind="Service", name="openai", node="gpu-1", site="berlin", port=served),
        groups=[("ModelGroup", "clinical")],
    )
    mesh.policy(POLICY)
    for node in mesh.nodes.values():
        node.agent.start()
    for node in mesh.nodes.values():
        node.agent.ports()
    mesh.wait_enforced()
    return mesh
