"""The agent and its Envoy when the control plane is away or slow, and when evidence has no room: deny rather than guess."""

import subprocess
import time

import mesh as small
import pytest
from faultproxy import FaultProxy
from faults.cases import case
from mesh import CALLEE, CALLER, ask, callee, caller

from controlplane.cli.demo.mesh import Mesh

pytestmark = pytest.mark.timeout(180)
LEASE_S = 4
DENIED = {
    "lease_expired",
    "http 500",
}  # the latter when Envoy has dropped the gate, whose time to live is the lease
PATIENCE_S = 30.0


def eventually(check) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not check():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)


def behind(proxy: list[FaultProxy]):
    """Agents reach the control plane through a proxy, which is put in the list."""

    def change(mesh: Mesh) -> None:
        proxy.append(FaultProxy(mesh.replicas[0].api))
        for node in mesh.nodes.values():
            settings = node.directory / "agent.toml"
            settings.write_text(settings.read_text().replace(mesh.replicas[0].api, proxy[0].address))

    return change


@case(7, "no room for evidence", "new requests are denied; with room it goes on, and says what is missing")
def test_a_node_that_cannot_record_denies_until_it_can(tmp_path, saw) -> None:
    mounted = tmp_path / CALLEE / "var" / "evidence"

    def before(_: Mesh) -> None:
        mounted.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", mounted], check=True)

    made = None
    try:
        made = small.start(tmp_path, before=before)
        eventually(lambda: ask(made) != "allowed")
        assert ask(made) != "allowed"
        subprocess.run(["mount", "-o", "remount,size=16m", mounted], check=True)
        eventually(lambda: ask(made) == "allowed")
        eventually(lambda: _gaps(made) > 0)
        saw("denied when full, 1 gap declared")
    finally:
        if made is not None:
            made.stop()
        subprocess.run(["umount", "-l", mounted], check=False)


def _gaps(mesh: Mesh) -> int:
    from controlplane.api.gen import overview_pb2

    seen = mesh.client.call(mesh.client.overview.GetOverview, overview_pb2.GetOverviewRequest(limit=10))
    return sum(node.gaps for node in seen.listed)


@case(24, "agents cut off from the control plane for two leases", "they deny when the lease ends, then heal")
def test_a_node_that_is_cut_off_goes_on_for_a_lease_and_then_denies(tmp_path) -> None:
    proxies: list[FaultProxy] = []
    made = small.start(tmp_path, lease_max_s=LEASE_S, before=behind(proxies))
    try:
        assert ask(made) == "allowed"
        proxies[0].cut()
        assert ask(made) == "allowed"
        eventually(lambda: ask(made) in DENIED)
        beyond = time.monotonic() + LEASE_S
        while time.monotonic() < beyond:
            assert ask(made) in DENIED
        proxies[0].heal()
        eventually(lambda: ask(made) == "allowed")
        made.wait_enforced()
    finally:
        made.stop()
        for proxy in proxies:
            proxy.__exit__()


@case(
    26,
    "a control plane that answers five seconds late",
    "requests are decided without it, also after a restart",
)
def test_requests_do_not_wait_for_a_slow_control_plane(tmp_path) -> None:
    proxies: list[FaultProxy] = []
    made = small.start(tmp_path, before=behind(proxies))
    try:
        proxies[0].heal()
        proxies[0].delay(5.0)
        for node in (caller(made), callee(made)):
            node.agent.kill()
            node.agent.start()
            node.agent.ports()
        eventually(lambda: ask(made) == "allowed")
        assert ask(made, purpose="research") == "no_permit"
        assert not made.find(CALLER).connected  # decided from disk: nothing had been heard yet
        proxies[0].heal()
        eventually(lambda: made.find(CALLER).connected)
    finally:
        made.stop()
        for proxy in proxies:
            proxy.__exit__()
