"""One control plane and one node for the whole suite; each test registers what it needs and removes it again."""

import secrets

import pytest
import workloads

from controlplane.cli.demo.mesh import Mesh


@pytest.fixture(scope="package")
def mesh():
    with workloads.one_node() as made:
        workloads.register(made, "web", hint="the web")
        with workloads.Workload(workloads.node_of(made).workload_socket) as caller:
            workloads.eventually(lambda: caller.names() == ["web"])
        yield made


@pytest.fixture
def caller(mesh: Mesh):
    with workloads.Workload(workloads.node_of(mesh).workload_socket) as made:
        yield made


@pytest.fixture
def another(mesh: Mesh, caller: workloads.Workload):
    """A second workload that this process is too: its name, after the first in every list."""
    name = f"z-{secrets.token_hex(3)}"
    workloads.register(mesh, name)
    workloads.eventually(lambda: name in caller.names())
    yield name
    workloads.remove(mesh, name)
    workloads.eventually(lambda: name not in caller.names())
