"""Three members of etcd under faults: the leader killed, a member stopped; nothing acknowledged lost, nothing made twice."""

import asyncio
import signal

import pytest

from controlplane.cli.demo.etcd import Etcd
from controlplane.errors import ConflictError, UnavailableError
from controlplane.store.etcd.connection import Access
from controlplane.store.etcd.store import EtcdStore
from controlplane.store.sealing import Sealer

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(180)]
WRITERS, EACH = 12, 60


@pytest.fixture
def etcd(tmp_path):
    with Etcd(tmp_path, size=3) as running:
        yield running


@pytest.fixture
async def store(etcd):
    access = Access(endpoints=tuple(etcd.endpoints))
    made = await EtcdStore.create(access, "/p/", Sealer([b"k" * 32]), "one", "acme.example")
    yield made
    await made.close()


@pytest.mark.parametrize("fault", ["kill", "stop"])
async def test_the_leader_goes_and_every_acknowledged_create_is_there_once(etcd, store, fault) -> None:
    start = await store.commit(expect={}, put={"w/start": b""})
    made: dict[str, int] = {}
    doubled: list[str] = []
    seen: list[str] = []
    progress = asyncio.Event()

    async def write(writer: int) -> None:
        for number in range(EACH):
            key = f"w/{writer}/{number}"
            while key not in made:
                try:
                    made[key] = await store.commit(expect={key: 0}, put={key: b""})
                    progress.set()
                except UnavailableError:
                    continue  # it says that nothing was written
                except ConflictError:
                    doubled.append(key)
                    break

    async def watch() -> None:
        async for event in store.watch("w/", start):
            seen.append(event.key)
            if len(seen) == WRITERS * EACH:
                return

    writing = [asyncio.ensure_future(write(n)) for n in range(WRITERS)]
    watching = asyncio.ensure_future(watch())
    while len(made) < 100:
        progress.clear()
        await progress.wait()
    leader = await asyncio.to_thread(etcd.leader)
    leader.kill(signal.SIGKILL if fault == "kill" else signal.SIGSTOP)
    await asyncio.gather(*writing)
    await asyncio.wait_for(watching, 60)
    assert doubled == []
    assert sorted(seen) == sorted(made)
    items, _ = await store.list("w/")
    assert {item.key: item.revision for item in items if item.key != "w/start"} == made


async def test_the_health_of_a_cluster_is_told_member_by_member(etcd, store) -> None:
    told = await store.health()
    assert [(one.name, one.up) for one in told.members] == [(name, True) for name in etcd.endpoints]
    assert sum(one.leads for one in told.members) == 1
    assert all(one.size > 0 and one.version for one in told.members)
    follower = next(one for one in etcd.members if one is not etcd.leader())
    follower.kill()
    assert [one.up for one in (await store.health()).members] == [one is not follower for one in etcd.members]


async def test_without_quorum_nothing_is_read_and_nothing_written(etcd, store) -> None:
    await store.commit(expect={}, put={"a": b"1"})
    for member in etcd.members[:2]:
        member.kill(signal.SIGSTOP)
    with pytest.raises(UnavailableError):
        await store.get("a")  # the last member still has it, and may not say so
    with pytest.raises(UnavailableError):
        await store.commit(expect={}, put={"a": b"2"})
    for member in etcd.members[:2]:
        member.resume()
    while True:
        try:
            await store.commit(expect={}, put={"b": b"1"})
            break
        except UnavailableError:
            continue
    assert (await store.get("b")).value == b"1"
