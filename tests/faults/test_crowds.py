"""Too many at once: a herd of agents that comes back, and strangers that take every file descriptor."""

import asyncio
import contextlib
import resource
import secrets
import socket
import time
from pathlib import Path

import grpc
import pytest
from barenode import CODE, HELLO, Node, trust_domain_options, until
from faults.cases import case

from agent import identity
from certs import keys
from controlplane.api.gen import sync_pb2_grpc
from controlplane.cli.demo.mesh import Mesh

pytestmark = pytest.mark.timeout(180)
HERD = 200
STRANGERS = 60
PATIENCE_S = 60.0


@pytest.fixture
def mesh(tmp_path):
    with Mesh(tmp_path, lease_s=60, heartbeat_s=0.5) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


class Herd:
    """Agents of one node's name each, which connect again with jitter whenever they are left."""

    def __init__(self, mesh: Mesh, nodes: list[Node]) -> None:
        cas, api = mesh.context().ca.read_bytes(), mesh.replicas[0].api
        self.heard: dict[str, int] = {}
        self._tasks = [asyncio.ensure_future(self._agent(cas, api, node)) for node in nodes]

    async def _agent(self, cas: bytes, api: str, node: Node) -> None:
        pem = keys.dump_private(node.key, None)
        credentials = grpc.ssl_channel_credentials(cas, pem, identity.pem(*node.chain))
        while True:
            async with grpc.aio.secure_channel(api, credentials, options=trust_domain_options()) as open_:
                with contextlib.suppress(grpc.aio.AioRpcError):
                    call = sync_pb2_grpc.SyncStub(open_).Connect()
                    await call.write(HELLO)
                    async for response in call:
                        if response.heartbeat:
                            self.heard[node.name] = self.heard.get(node.name, 0) + 1
            self.heard.pop(node.name, None)
            await asyncio.sleep(secrets.randbelow(1000) / 1000)

    async def all_hear(self) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.heard) < len(self._tasks):
            assert time.monotonic() < deadline, f"{len(self.heard)} of {len(self._tasks)}"
            await asyncio.sleep(0.05)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@case(
    27,
    "a herd of agents that comes back at once",
    "all are served, renewals meanwhile too, memory is bounded",
)
async def test_a_herd_that_comes_back_is_served_and_renewals_with_it(mesh, tmp_path, saw) -> None:
    nodes = await asyncio.to_thread(lambda: [Node(mesh, f"n{number}", tmp_path) for number in range(HERD)])
    herd = Herd(mesh, nodes)
    try:
        await herd.all_hear()
        before = _memory(mesh)
        mesh.control_plane.kill()
        while herd.heard:
            await asyncio.sleep(0.05)
        await asyncio.to_thread(mesh.start_control_plane)
        chain = await asyncio.to_thread(
            lambda: nodes[0].renew(mesh.replicas[0], keys.generate_p256(), "h" * 20, 30)
        )
        assert isinstance(chain, tuple)
        await herd.all_hear()
        after = _memory(mesh)
        assert after < 2 * before
        saw(f"{HERD} agents over mTLS, {after >> 20} MiB")
    finally:
        await herd.end()


def _memory(mesh: Mesh) -> int:
    status = Path(f"/proc/{mesh.control_plane.child.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


@case(
    34,
    "no file descriptor left at the control plane",
    "sessions that are open survive, others come when there is room",
)
def test_strangers_that_take_every_descriptor_end_no_session(mesh, tmp_path, saw) -> None:
    node, other = Node(mesh, "inside", tmp_path), Node(mesh, "outside", tmp_path)
    stream = node.listen(mesh.replicas[0])
    assert stream.next_beat(10)
    pid = mesh.control_plane.child.pid
    limit = len(list(Path(f"/proc/{pid}/fd").iterdir())) + 20
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (limit, limit))
    host, _, port = mesh.replicas[0].api.rpartition(":")
    with contextlib.ExitStack() as strangers:
        for _ in range(STRANGERS):
            with contextlib.suppress(OSError):
                strangers.enter_context(socket.create_connection((host, int(port)), 5))
        answer = other.renew(mesh.replicas[0], keys.generate_p256(), "o" * 20, 3)
        assert answer in {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED}
        for _ in range(6):
            assert stream.next_beat(10)
        assert not stream.ended.is_set()
    key = keys.generate_p256()
    until(lambda: isinstance(other.renew(mesh.replicas[0], key, "p" * 20, 5), tuple))
    assert stream.next_beat(10)
    stream.close()
    saw(f"{STRANGERS} strangers, {limit} descriptors")
