"""Workloads of an agent that has several control planes: one that dies is replaced, one that is removed is believed no more."""

import signal
import subprocess
import sys

import pytest
import workloads
from workloads import CODE, eventually, node_of, register, status

from certs import der

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow, pytest.mark.faults]


@pytest.fixture
def mesh():
    with workloads.one_node(store="etcd", replicas=2) as made:
        yield made


def cas(caller) -> dict[str, bytes]:
    """Who signed for each workload."""
    return {one.spiffe_id.rpartition("/")[2]: der.split(one.x509_svid)[1] for one in caller.svids()}


def test_another_replica_signs_when_one_is_gone_and_nothing_of_a_removed_one_lives_on(mesh) -> None:
    first, second = mesh.replicas
    with workloads.Workload(node_of(mesh).workload_socket) as caller:
        second.process.kill(signal.SIGKILL)
        mesh.connect()
        register(mesh, "one")
        eventually(lambda: list(cas(caller)) == ["one"])
        first.process.kill(signal.SIGKILL)
        second.process.start()
        second.process.ports()
        mesh.connect()
        register(mesh, "two")
        eventually(lambda: list(cas(caller)) == ["one", "two"])
        by_second = cas(caller)["two"]
        assert by_second != cas(caller)["one"]
        token = eventually(lambda: caller.tokens("api"))[0].svid
        assert status(caller.validate, token) == CODE.OK
        first.process.start()
        first.process.ports()
        mesh.connect()
        command = [sys.executable, "-m", "controlplane", "remove", "--config", str(first.config)]
        command += ["--root", str(first.state), "--replica", second.name]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        assert second.process.child.wait(20) == 1  # it says that it was removed
        eventually(lambda: by_second not in cas(caller).values() and len(cas(caller)) == 2)
        assert status(caller.validate, token) == CODE.INVALID_ARGUMENT
        assert eventually(lambda: status(caller.validate, caller.tokens("api")[0].svid) == CODE.OK)
