"""The store on etcd, when watches stall, members restart, space ends and values are too large."""

import asyncio
import contextlib
import itertools

import commands
import pytest
from barenode import CODE, Node, until
from faultproxy import DOWN, UP, FaultProxy
from faults.cases import case

from certs import keys
from controlplane.api.gen import admin_pb2
from controlplane.cli.demo.etcd import Etcd
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError, Exit
from controlplane.errors import ConflictError, InvalidError, UnavailableError
from controlplane.store.base import MAX_OPERATIONS, MAX_VALUE_BYTES
from controlplane.store.etcd.connection import Access, Connection
from controlplane.store.etcd.store import EtcdStore
from controlplane.store.etcd.stubs import rpc
from controlplane.store.sealing import Sealer

pytestmark = pytest.mark.timeout(120)
COUNT = 30
NUMBERS = itertools.count()
HURTS = {
    "swallowed": FaultProxy.cut,
    "deaf": lambda proxy: proxy.cut(DOWN),
    "mute": lambda proxy: proxy.cut(UP),
    "half closed": FaultProxy.half_close,
}
QUOTA = 24 << 20


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with Etcd(tmp_path_factory.mktemp("etcd"), size=3) as running:
        yield running


@contextlib.asynccontextmanager
async def opened(etcd: Etcd, prefix: str, endpoints: list[str] | None = None):
    """A new mesh under this prefix, and a second replica that may reach etcd another way."""
    sealer = Sealer([b"k" * 32])
    first = await EtcdStore.create(
        Access(endpoints=tuple(etcd.endpoints)), prefix, sealer, "one", "acme.example"
    )
    access = Access(endpoints=tuple(endpoints or etcd.endpoints))
    second = await EtcdStore.open(access, prefix, sealer, "two", "acme.example")
    try:
        yield first, second
    finally:
        await first.close()
        await second.close()


async def put(store: EtcdStore, key: str) -> None:
    """Until it is acknowledged: what is said not to be written is not."""
    while True:
        try:
            await store.commit(expect={key: 0}, put={key: b""})
        except UnavailableError:
            continue
        except ConflictError:
            pytest.fail("a commit that was said not to be written was written")
        return


class Watcher:
    """Follows `w/` in the background."""

    def __init__(self, store: EtcdStore, after: int, count: int) -> None:
        self.seen: list[str] = []
        self.task = asyncio.ensure_future(self._run(store, after, count))

    async def _run(self, store: EtcdStore, after: int, count: int) -> None:
        async for event in store.watch("w/", after):
            self.seen.append(event.key)
            if len(self.seen) == count:
                return


@pytest.mark.parametrize("hurt", HURTS.values(), ids=HURTS)
@case(16, "a watch that stalls without a word", "it is left, and goes on elsewhere; each event once")
async def test_a_watch_in_a_black_hole_loses_and_doubles_nothing(etcd, saw, hurt) -> None:
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(one)) for one in etcd.endpoints]
        async with opened(etcd, f"/f16/{next(NUMBERS)}/", [one.address for one in proxies]) as (
            writer,
            watcher,
        ):
            start = await writer.commit(expect={}, put={"w/start": b""})
            watch = Watcher(watcher, start, COUNT)
            for number in range(COUNT):
                await put(writer, f"w/{number:02d}")
                if number == COUNT // 3:
                    at = watcher._connection.endpoint
                    hurt(next(one for one in proxies if one.address == at))
            await asyncio.wait_for(watch.task, 60)
    assert watch.seen == [f"w/{number:02d}" for number in range(COUNT)]
    saw(f"{COUNT} events once")


@case(17, "every member of etcd killed and started again", "watches resume after the last revision")
async def test_a_watch_survives_the_whole_cluster(etcd, saw) -> None:
    async with opened(etcd, "/f17/") as (writer, watcher):
        start = await writer.commit(expect={}, put={"w/start": b""})
        watch = Watcher(watcher, start, COUNT)
        for number in range(COUNT):
            if number == COUNT // 2:
                for member in etcd.members:
                    member.kill()
                for member in etcd.members:
                    etcd.start(member)
            await put(writer, f"w/{number:02d}")
        await asyncio.wait_for(watch.task, 60)
        items, _ = await writer.list("w/")
    assert watch.seen == [f"w/{number:02d}" for number in range(COUNT)]
    assert len(items) == COUNT + 1
    saw(f"{COUNT} acknowledged and seen once")


@case(18, "etcd out of space (alarm NOSPACE)", "reads go on, writes say why, all heals without a restart")
def test_a_full_etcd_is_said_to_be_full(tmp_path, saw) -> None:
    with Mesh(tmp_path, lease_s=60, heartbeat_s=0.5, store="etcd") as mesh:
        mesh.etcd.flags = ("--quota-backend-bytes", str(QUOTA))
        mesh.init()
        mesh.start_control_plane()
        mesh.site("paris", "FR")
        node = Node(mesh, "full", tmp_path)
        stream = node.listen(mesh.replicas[0])
        assert stream.next_beat(10)
        asyncio.run(_junk(mesh.etcd))
        with pytest.raises(CliError) as caught:
            mesh.site("refused", "FR")
        assert (caught.value.code, "alarm disarm" in caught.value.hint) == (Exit.UNREACHABLE, True)
        assert "NOSPACE" in caught.value.message
        assert node.renew(mesh.replicas[0], keys.generate_p256(), "f" * 20) is CODE.UNAVAILABLE
        assert stream.next_beat(10)
        until(lambda: "NOSPACE" in commands.writ("status", config=mesh.context_file).stdout)
        checked = commands.writ("check", config=mesh.context_file)
        assert (checked.returncode, "alarm disarm" in checked.stdout) == (1, True), checked.stdout
        _room(mesh.etcd)
        until(lambda: _made(mesh, "after"))
        assert isinstance(node.renew(mesh.replicas[0], keys.generate_p256(), "f" * 20), tuple)
        found = {site.name for site in mesh.call("ListSites", admin_pb2.ListSitesRequest()).sites}
        assert found == {"paris", "after"}
        stream.close()


async def _junk(etcd: Etcd) -> None:
    """Somebody else fills it."""
    connection = Connection(Access(endpoints=tuple(etcd.endpoints)))
    with pytest.raises(UnavailableError, match="NOSPACE"):
        for number in range(200):
            put = rpc.PutRequest(key=f"/other/{number}".encode(), value=bytes(1 << 20))
            await connection.once("KV.Put", put)
    await connection.close()


def _room(etcd: Etcd) -> None:
    etcd.control("del", "--prefix", "/other/")
    revision = etcd.control("get", "/", "-w", "fields").partition('"Revision" : ')[2].split()[0]
    etcd.control("compact", "--physical", revision)
    etcd.control("defrag")
    etcd.control("alarm", "disarm")


def _made(mesh: Mesh, site: str) -> bool:
    try:
        mesh.site(site, "FR")
    except CliError:
        return False
    return True


@case(19, "a value or commit above etcd's limits", "refused before it is sent")
async def test_what_etcd_would_refuse_is_never_sent(etcd) -> None:
    async with opened(etcd, "/f19/") as (store, _):
        before = await _revision(store)
        for too_much in (
            {"a": bytes(MAX_VALUE_BYTES + 1)},
            {"a": bytes(MAX_VALUE_BYTES), "b": bytes(100 << 10)},
            {f"k{number}": b"" for number in range(MAX_OPERATIONS + 1)},
        ):
            with pytest.raises(InvalidError):
                await store.commit(expect={}, put=too_much)
        assert await _revision(store) == before
        await store.commit(expect={}, put={"a": bytes(MAX_VALUE_BYTES)})
        await store.commit(expect={}, put={f"k{number}": b"" for number in range(MAX_OPERATIONS)})


async def _revision(store: EtcdStore) -> int:
    reply = await store._connection.read("KV.Range", rpc.RangeRequest(key=b"/"))
    return reply.header.revision
