"""One control plane and one node for the whole suite; each test registers what it needs and removes it again."""

import secrets

import foreign
import pytest
import workloads

from controlplane.cli.demo.mesh import Mesh


@pytest.fixture(scope="package")
def web():
    """A CA of the Web that the control plane believes."""
    return foreign.Web()


@pytest.fixture(scope="package")
def mesh(web, tmp_path_factory):
    web_ca = tmp_path_factory.mktemp("web") / "ca.pem"
    web_ca.write_bytes(web.pem)
    environment = {
        "WRIT_FEDERATION__LISTEN": "127.0.0.1:0",
        "WRIT_FEDERATION__POLL_MIN_S": "1",
        "WRIT_FEDERATION__WEB_CA_FILE": str(web_ca),
    }
    with workloads.one_node(environment=environment) as made:
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
