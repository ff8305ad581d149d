"""The store on a real etcd of one member: the same suite as the others, and what only etcd can do to us."""

import asyncio
import contextlib
import itertools
import signal

import pytest
from conformance.store import StoreConformance

from controlplane.cli.demo.etcd import Etcd
from controlplane.errors import (
    CompactedError,
    ConflictError,
    CorruptError,
    ExistsError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from controlplane.store.etcd.connection import Access
from controlplane.store.etcd.store import EtcdStore
from controlplane.store.etcd.stubs import rpc
from controlplane.store.follow import follow
from controlplane.store.sealing import Sealer

KEY = b"k" * 32
DOMAIN = "acme.example"
numbers = itertools.count()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory):
    with Etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture
def access(etcd) -> Access:
    return Access(endpoints=tuple(etcd.endpoints))


@pytest.fixture
def prefix() -> str:
    return f"/writ/v1/t{next(numbers)}/"


@pytest.fixture
async def store(access, prefix):
    made = await EtcdStore.create(access, prefix, Sealer([KEY]), "one", DOMAIN)
    yield made
    await made.close()


async def again(
    access: Access, prefix: str, *, key: bytes = KEY, replica: str = "two", domain: str = DOMAIN
) -> EtcdStore:
    return await EtcdStore.open(access, prefix, Sealer([key]), replica, domain)


class TestEtcd(StoreConformance):
    @pytest.fixture
    async def store(self, store):
        return store


# --- whose is it -------------------------------------------------------------------------------------------------


async def test_a_mesh_is_not_begun_twice_nor_on_foreign_data(store, access, prefix, etcd) -> None:
    with pytest.raises(ExistsError):
        await EtcdStore.create(access, prefix, Sealer([KEY]), "one", DOMAIN)
    etcd.control("put", "/other/app/x", "1")
    with pytest.raises(ExistsError):
        await EtcdStore.create(access, "/other/", Sealer([KEY]), "one", DOMAIN)
    with pytest.raises(CorruptError, match="`/other/app/x` is not ours"):
        await again(access, "/other/")
    assert etcd.control("get", "--prefix", "/other/", "--keys-only").split() == ["/other/app/x"]


async def test_an_empty_prefix_is_no_mesh(access) -> None:
    with pytest.raises(NotFoundError, match="no mesh under"):
        await again(access, "/nothing/")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ('{"version": 3, "trust_domain": "acme.example", "check": "00"}', "schema version 3"),
        (
            '{"version": 1, "trust_domain": "other.example", "check": "00"}',
            "belongs to the mesh `other.example`",
        ),
        ("garbage", "is not ours"),
        ('{"version": "1"}', "is not ours"),
        ('{"version": 1, "trust_domain": "acme.example", "check": "zz"}', "is not ours"),
    ],
)
async def test_a_schema_that_we_do_not_know_is_refused_and_nothing_written(
    etcd, access, prefix, document, said
) -> None:
    etcd.control("put", f"{prefix}schema", document)
    with pytest.raises(CorruptError, match=said):
        await again(access, prefix)
    assert etcd.control("get", "--prefix", prefix, "--keys-only").split() == [f"{prefix}schema"]


async def test_another_key_file_is_named_as_such_before_anything_is_written(
    store, etcd, access, prefix
) -> None:
    await store.commit(expect={}, put={"a": b"1"})
    before = etcd.control("get", "--prefix", prefix, "-w", "fields").partition('"Key"')[2]
    with pytest.raises(CorruptError, match="another key"):
        await again(access, prefix, key=b"x" * 32)
    assert etcd.control("get", "--prefix", prefix, "-w", "fields").partition('"Key"')[2] == before


async def test_nothing_is_readable_in_etcd(store, etcd, prefix) -> None:
    await store.commit(expect={}, put={"node/paris/app": b"a secret of ours"})
    assert "a secret of ours" not in etcd.control("get", "--prefix", prefix)


async def test_altered_and_moved_values_are_refused(store, etcd, prefix) -> None:
    await store.commit(expect={}, put={"a": b"1", "b": b"2"})
    a, b = [await _raw(store, f"{prefix}data/{key}") for key in "ab"]
    await _put(store, f"{prefix}data/b", a)
    with pytest.raises(CorruptError, match="altered"):
        await store.get("b")
    await _put(store, f"{prefix}data/b", b[:-1] + bytes([b[-1] ^ 1]))
    with pytest.raises(CorruptError, match="altered"):
        await store.list("b")
    await _put(store, f"{prefix}data/b", b"plain")
    with pytest.raises(CorruptError, match="not written by this program"):
        await store.get("b")


async def _raw(store: EtcdStore, key: str) -> bytes:
    reply = await store._connection.read("KV.Range", rpc.RangeRequest(key=key.encode()))
    return reply.kvs[0].value


async def _put(store: EtcdStore, key: str, value: bytes) -> None:
    await store._connection.once("KV.Put", rpc.PutRequest(key=key.encode(), value=value))


async def test_keys_can_be_replaced_one_after_the_other(store, access, prefix) -> None:
    await store.commit(expect={}, put={"a": b"1"})
    new = await EtcdStore.open(access, prefix, Sealer([b"n" * 32, KEY]), "two", DOMAIN)
    await new.commit(expect={}, put={"b": b"2"})
    assert [item.value for item in (await new.list(""))[0]] == [b"1", b"2"]
    await new.close()


# --- who writes --------------------------------------------------------------------------------------------------


async def test_a_second_process_of_one_name_fences_the_first(store, access, prefix) -> None:
    revision = await store.commit(expect={}, put={"a": b"1"})
    other = await again(access, prefix, replica="one")
    with pytest.raises(ExistsError, match="under this replica's name"):
        await store.commit(expect={"a": revision}, put={"a": b"2"})
    assert (await other.get("a")).value == b"1"
    await other.commit(expect={"a": revision}, put={"a": b"3"})
    await other.close()


async def test_replicas_compare_against_each_other(store, access, prefix) -> None:
    other = await again(access, prefix)

    async def raise_it(by: EtcdStore) -> None:
        for _ in range(25):
            while True:
                item = await by.get("n")
                with contextlib.suppress(ConflictError):
                    await by.commit(expect={"n": item.revision}, put={"n": str(int(item.value) + 1).encode()})
                    break

    await store.commit(expect={}, put={"n": b"0"})
    await asyncio.gather(raise_it(store), raise_it(other))
    assert (await store.get("n")).value == b"50"
    await other.close()


# --- what can fail -----------------------------------------------------------------------------------------------


async def test_a_watch_resumes_without_loss_or_doubling_when_etcd_restarts(tmp_path) -> None:
    with Etcd(tmp_path) as etcd:
        store = await EtcdStore.create(
            Access(endpoints=tuple(etcd.endpoints)), "/p/", Sealer([KEY]), "one", DOMAIN
        )
        start = await store.commit(expect={}, put={"w/start": b""})
        seen: list[str] = []

        async def watch() -> None:
            async for event in store.watch("w/", start):
                seen.append(event.key)
                if event.key == "w/last":
                    return

        watching = asyncio.ensure_future(watch())
        for number in range(10):
            await store.commit(expect={}, put={f"w/{number:02d}": b""})
        etcd.members[0].kill()
        etcd.start(etcd.members[0])
        for number in (*range(10, 20), "last"):
            await _until_committed(store, f"w/{number}")
        await asyncio.wait_for(watching, 20)
        assert seen == [*(f"w/{number:02d}" for number in range(20)), "w/last"]
        await store.close()


async def _until_committed(store: EtcdStore, key: str) -> None:
    while True:
        try:
            await store.commit(expect={key: 0}, put={key: b""})
        except UnavailableError:
            continue
        except ConflictError:
            pytest.fail("a commit that was said not to be written was written")
        return


async def test_a_stalled_etcd_fails_by_deadline_and_its_commit_is_never_made_twice(tmp_path) -> None:
    with Etcd(tmp_path) as etcd:
        store = await EtcdStore.create(
            Access(endpoints=tuple(etcd.endpoints)), "/p/", Sealer([KEY]), "one", DOMAIN
        )
        await store.commit(expect={}, put={"n": b"0"})
        item = await store.get("n")
        etcd.members[0].kill(signal.SIGSTOP)
        committing = asyncio.ensure_future(store.commit(expect={"n": item.revision}, put={"n": b"1"}))
        # Until the deadline: the answer is lost, the request is not. Or it was quicker than the signal.
        while store._writer._settled and not committing.done():
            await asyncio.sleep(0.01)
        etcd.members[0].resume()
        outcome = await asyncio.wait_for(asyncio.gather(committing, return_exceptions=True), 20)
        value = (await store.get("n")).value
        assert (value == b"1") is isinstance(outcome[0], int)
        await store.close()


async def test_history_that_was_compacted_says_so(store, etcd) -> None:
    first = await store.commit(expect={}, put={"w/1": b""})
    last = await store.commit(expect={}, put={"w/2": b""})
    await store.commit(expect={}, put={"w/3": b""})
    etcd.control("compact", str(last + 1))
    with pytest.raises(CompactedError):
        await anext(store.watch("w/", first - 1))


async def test_following_goes_on_over_a_compaction(store, etcd) -> None:
    await store.commit(expect={}, put={"f/stays": b"", "f/goes": b"", "f/changes": b"1"})
    followed = follow(store, "f/")
    assert {(await anext(followed)).key for _ in range(3)} == {"f/stays", "f/goes", "f/changes"}
    for value in (b"2", b"3"):
        await store.commit(expect={}, put={"f/changes": value})
    last = await store.commit(expect={}, put={}, delete=["f/goes"])
    etcd.control("compact", str(last))
    found = [await anext(followed) for _ in range(2)]
    assert [(event.key, event.value) for event in found] == [("f/changes", b"3"), ("f/goes", None)]
    await followed.aclose()


async def test_a_full_etcd_reads_and_says_why_it_does_not_write(tmp_path) -> None:
    with Etcd(tmp_path, flags=("--quota-backend-bytes", str(2 << 20))) as etcd:
        store = await EtcdStore.create(
            Access(endpoints=tuple(etcd.endpoints)), "/p/", Sealer([KEY]), "one", DOMAIN
        )
        await store.commit(expect={}, put={"kept": b"1"})
        with pytest.raises(UnavailableError, match="NOSPACE") as caught:
            for _ in range(400):  # etcd learns its size when it commits, ten times a second
                await store.commit(expect={}, put={"big": bytes(512 << 10)})
        assert "alarm disarm" in caught.value.hint
        assert (await store.get("kept")).value == b"1"
        (kept, none), _ = await store.snapshot(["kept", "w/"])
        assert ([item.value for item in kept], none) == ([b"1"], [])
        await store.close()


async def test_nobody_there_is_one_clear_error(prefix) -> None:
    with pytest.raises(UnavailableError, match="gives no answer"):
        await again(Access(endpoints=("127.0.0.1:1",)), prefix)


async def test_members_of_two_clusters_are_no_cluster(etcd, tmp_path, prefix) -> None:
    with Etcd(tmp_path) as other, pytest.raises(InvalidError, match="different clusters"):
        await again(Access(endpoints=(*etcd.endpoints, *other.endpoints)), prefix)


async def test_user_and_password(tmp_path, prefix) -> None:
    with Etcd(tmp_path) as etcd:
        for command in (
            "user add root:root-word", "user grant-role root root", "role add writ",
            f"role grant-permission writ readwrite --prefix=true {prefix}",
            "user add writ:right", "user grant-role writ writ", "auth enable",
        ):  # fmt: skip
            etcd.control(*command.split())
        known = Access(endpoints=tuple(etcd.endpoints), user="writ", password="right")
        store = await EtcdStore.create(known, prefix, Sealer([KEY]), "one", DOMAIN)
        revision = await store.commit(expect={}, put={"a": b"1"})
        assert (await anext(store.watch("", revision - 1))).key == "a"
        await store.close()
        for access in (
            Access(endpoints=known.endpoints, user="writ", password="wrong"),
            Access(endpoints=known.endpoints, user="nobody", password="right"),
        ):
            with pytest.raises(UnavailableError, match="refuses our credentials"):
                await again(access, prefix)
        with pytest.raises(UnavailableError, match="wants a user"):
            await again(Access(endpoints=known.endpoints), prefix)
        with pytest.raises(UnavailableError, match="refuses our credentials"):
            await again(known, "/not/ours/")


# --- an epoch later ----------------------------------------------------------------------------------------------


class TestEtcdAdvanced(StoreConformance):
    """Above a base, where every revision is etcd's and as much more."""

    @pytest.fixture
    async def store(self, store):
        await store.commit(expect={}, put={"before": b""})
        await store.advance(1 << 40)
        await store.commit(expect={}, put={}, delete=["before"])
        return store


async def test_what_advanced_stays_so_and_old_programs_are_kept_out(store, etcd, access, prefix) -> None:
    await store.commit(expect={}, put={"a": b"1"})
    await store.advance(1 << 40)
    assert (await store.get("a")).revision <= 1 << 40
    made = await store.commit(expect={}, put={"b": b"1"})
    assert made > 1 << 40
    other = await again(access, prefix)
    assert (await other.get("b")).revision == made
    await other.advance(5)  # never back
    assert (await other.get("b")).revision == made
    assert await other.commit(expect={"b": made}, put={"b": b"2"}) > made
    await other.close()
    assert '"version": 2' in etcd.control("get", f"{prefix}schema")
