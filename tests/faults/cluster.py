"""Two control planes on three members of etcd, all real; the second reaches etcd through proxies that a test can hurt."""

import asyncio
import contextlib
import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
from barenode import trust_domain_options
from cryptography import x509
from faultproxy import FaultProxy

from controlplane import config, opening
from controlplane.api.gen import admin_pb2, admin_pb2_grpc
from controlplane.cli.demo.mesh import Mesh, Replica
from controlplane.store.base import Item, Store


@dataclass
class Cluster:
    """`proxies` stand between the second replica and each member."""

    mesh: Mesh
    proxies: list[FaultProxy]

    @property
    def first(self) -> Replica:
        return self.mesh.replicas[0]

    @property
    def second(self) -> Replica:
        return self.mesh.replicas[1]

    def cut(self) -> None:
        for proxy in self.proxies:
            proxy.cut()

    def heal(self) -> None:
        for proxy in self.proxies:
            proxy.heal()

    def rows(self, prefix: str) -> list[Item]:
        """What is in etcd."""
        return asyncio.run(_list(self.first, prefix))

    def logged(self, node: str = "") -> set[str]:
        """Serials that the store knows of."""
        return {
            item.key.rpartition("/")[2] for item in self.rows("certificate/") if node.encode() in item.value
        }

    def revoke_at(self, replica: Replica, node: str) -> None:
        """Whatever the other replica does meanwhile."""
        mine = self.mesh.context()
        parts = [path.read_bytes() for path in (mine.ca, mine.key, mine.certificate)]
        credentials = grpc.ssl_channel_credentials(*parts)
        with grpc.secure_channel(replica.api, credentials, trust_domain_options()) as open_:
            admin_pb2_grpc.AdminStub(open_).RevokeNode(
                admin_pb2.RevokeNodeRequest(node=node, site="paris"), timeout=15
            )


async def _list(replica: Replica, prefix: str) -> list[Item]:
    store: Store = await opening.open_store(config.load(replica.config), "look")
    try:
        return (await store.list(prefix))[0]
    finally:
        await store.close()


def serial(chain) -> str:
    return f"{x509.load_der_x509_certificate(chain[0]).serial_number:x}"


def ready(replica: Replica) -> bool:
    """Does `/ready` say so?"""
    connection = http.client.HTTPConnection("127.0.0.1", replica.process.ports()["metrics"], timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200


@contextlib.contextmanager
def running(directory: Path) -> Iterator[Cluster]:
    with (
        Mesh(directory, lease_s=60, heartbeat_s=0.5, store="etcd", replicas=2, etcd_members=3) as mesh,
        contextlib.ExitStack() as proxies,
    ):
        mesh.init()
        with mesh.replicas[0].config.open("a") as file:
            file.write('\n[metrics]\nlisten = "localhost:0"\n')
        mesh.start_control_plane()
        mesh.site("paris", "FR")
        made = Cluster(mesh, [proxies.enter_context(FaultProxy(one)) for one in mesh.etcd.endpoints])
        text = made.second.config.read_text()
        for endpoint, proxy in zip(mesh.etcd.endpoints, made.proxies, strict=True):
            text = text.replace(endpoint, proxy.address)
        made.second.config.write_text(text)
        made.second.process.kill()
        made.second.process.start()
        made.second.process.ports()
        yield made
