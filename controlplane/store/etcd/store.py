"""The store in etcd. Linearizable reads, grouped commits, watches that resume; values sealed, keys under one prefix.

`/writ/v1/<trust domain>/` holds `schema`, which says whose and which version this is; `data/…`, the keys of the port; and
`writer/<replica>`, the fences (`writer`). Whatever else is found there is not ours, and nothing is then written.

Revisions of the port are etcd's and a base, which stands in `schema`: a cluster that was restored begins to count anew, and what
agents hold must stay below.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from controlplane.errors import (
    CompactedError,
    ControlPlaneError,
    CorruptError,
    ExistsError,
    InvalidError,
    NotFoundError,
    UnavailableError,
)
from controlplane.store.base import Event, Expect, Health, Item, Lists, Member
from controlplane.store.checks import check_commit
from controlplane.store.etcd import groups, watching
from controlplane.store.etcd.connection import Access, Connection
from controlplane.store.etcd.stubs import etcd3, rpc, transactions
from controlplane.store.etcd.writer import Writer
from controlplane.store.sealing import Sealer

SCHEMA_VERSION = 1
BASED_VERSION = 2  # with a base: who does not know what that is must not serve it
EMPTY = b""
SNAPSHOT_TRIES = 5


class EtcdStore:
    """Open with `open`, or `create` for a new mesh."""

    def __init__(self, connection: Connection, prefix: str, sealer: Sealer, replica: str) -> None:
        self._connection, self._sealer = connection, sealer
        self._prefix, self._data = prefix, f"{prefix}data/"
        self._writer = Writer(connection, self._data, f"{prefix}writer/{replica}")
        self._base = 0

    # --- opening ---------------------------------------------------------------------------------------------

    @classmethod
    async def create(
        cls, access: Access, prefix: str, sealer: Sealer, replica: str, trust_domain: str
    ) -> "EtcdStore":
        """Begin a mesh under an empty prefix; ExistsError when something is there."""
        store = cls(Connection(access), prefix, sealer, replica)
        try:
            await store._check_cluster()
            await store._create_schema(trust_domain)
            await store._writer.take_over()
        except BaseException:
            await store.close()
            raise
        return store

    @classmethod
    async def open(
        cls, access: Access, prefix: str, sealer: Sealer, replica: str, trust_domain: str
    ) -> "EtcdStore":
        """Open what `create` began. Nothing is written before everything was found to be ours."""
        store = cls(Connection(access), prefix, sealer, replica)
        try:
            await store._check_cluster()
            await store._check_schema(trust_domain)
            await store._writer.take_over()
        except BaseException:
            await store.close()
            raise
        return store

    async def _check_cluster(self) -> None:
        """At least one member answers, and all that do are of one cluster."""
        clusters: dict[int, str] = {}
        failed: UnavailableError | None = None
        for endpoint in self._connection.endpoints:
            try:
                reply = await self._connection.once(
                    "Maintenance.Status", rpc.StatusRequest(), endpoint=endpoint
                )
                clusters[reply.header.cluster_id] = endpoint
            except UnavailableError as exc:
                failed = exc
        if len(clusters) > 1:
            hint = "store.endpoints must be members of one cluster"
            raise InvalidError(f"`{'` and `'.join(clusters.values())}` are different clusters", hint=hint)
        if not clusters and failed is not None:
            raise failed

    async def _create_schema(self, trust_domain: str) -> None:
        document = {
            "version": SCHEMA_VERSION,
            "trust_domain": trust_domain,
            "key": self._sealer.key_id.hex(),
            "check": self._sealer.seal(self._schema_key, EMPTY).hex(),
        }
        # An empty range compares as one absent key: nothing may be there, in the same transaction.
        empty = (
            transactions.Version(self._prefix, etcd3.utils.increment_last_byte(self._prefix.encode())) == 0
        )
        put = rpc.PutRequest(key=self._schema_key.encode(), value=json.dumps(document).encode())
        request = rpc.TxnRequest(compare=[empty.build_message()], success=[rpc.RequestOp(request_put=put)])
        reply = await self._connection.once("KV.Txn", request)
        if not reply.succeeded:
            hint = "give store.prefix another value, or start the replica that belongs there"
            raise ExistsError(f"there is something under `{self._prefix}` in this etcd", hint=hint)

    async def _check_schema(self, trust_domain: str) -> None:
        raw = await self._raw(self._schema_key)
        if raw is None:
            await self._nothing_ours()
            return
        document = _schema(raw, self._schema_key)
        if document["version"] not in {SCHEMA_VERSION, BASED_VERSION}:
            hint = "upgrade this replica" if document["version"] > BASED_VERSION else "migrate the store"
            what = f"the store has schema version {document['version']}, this program knows {BASED_VERSION}"
            raise CorruptError(what, hint=hint)
        if document["trust_domain"] != trust_domain:
            raise CorruptError(f"`{self._prefix}` belongs to the mesh `{document['trust_domain']}`")
        self._sealer.open(self._schema_key, bytes.fromhex(document["check"]))
        self._base = document.get("base", 0)

    async def _nothing_ours(self) -> None:
        end = etcd3.utils.increment_last_byte(self._prefix.encode())
        request = rpc.RangeRequest(key=self._prefix.encode(), range_end=end, limit=1, keys_only=True)
        found = await self._connection.read("KV.Range", request)
        if found.kvs:
            name = found.kvs[0].key.decode(errors="replace")
            raise CorruptError(f"`{name}` is not ours", hint="give store.prefix a value of our own")
        raise NotFoundError(
            f"there is no mesh under `{self._prefix}` in this etcd", hint="writ init --store etcd …"
        )

    @property
    def _schema_key(self) -> str:
        return f"{self._prefix}schema"

    # --- the port --------------------------------------------------------------------------------------------

    async def get(self, key: str) -> Item | None:
        reply = await self._connection.read("KV.Range", rpc.RangeRequest(key=(self._data + key).encode()))
        return self._item(reply.kvs[0]) if reply.kvs else None

    async def list(self, prefix: str) -> tuple[list[Item], int]:
        lists, revision = await self.snapshot([prefix])
        return lists[0], revision

    async def snapshot(self, prefixes: Sequence[str]) -> tuple[Lists, int]:
        """The first list says of which revision the others are to be.

        In one transaction would be simpler, but a full etcd refuses all transactions, also those that only read.
        """
        for _ in range(SNAPSHOT_TRIES):
            try:
                return await self._snapshot(prefixes)
            except CompactedError:
                continue  # that revision went between two questions
        raise UnavailableError("etcd forgets faster than it can be read", hint="compact it less often")

    async def _snapshot(self, prefixes: Sequence[str]) -> tuple[Lists, int]:
        first, *rest = prefixes
        reply = await self._ranged(first, 0)
        revision = reply.header.revision
        others = await asyncio.gather(*(self._ranged(one, revision) for one in rest))
        lists = [[self._item(kv) for kv in one.kvs] for one in (reply, *others)]
        return lists, revision + self._base

    async def _ranged(self, prefix: str, revision: int) -> Any:
        start, end = self._range(prefix)
        return await self._connection.read(
            "KV.Range", rpc.RangeRequest(key=start, range_end=end, revision=revision)
        )

    async def commit(self, *, expect: Expect, put: Mapping[str, bytes], delete: Sequence[str] = ()) -> int:
        check_commit(expect, put, delete)
        sealed = {key: self._sealer.seal(self._data + key, value) for key, value in put.items()}
        found = {key: revision - self._base if revision else 0 for key, revision in expect.items()}
        return await self._writer.commit(groups.Pending(found, sealed, delete)) + self._base

    async def watch(self, prefix: str, after: int) -> AsyncIterator[Event]:
        start, end = self._range(prefix)
        async for events in watching.watch(self._connection, start, end, after - self._base):
            for event in events:
                item = None if event.type == event.DELETE else self._item(event.kv)
                key = event.kv.key.decode().removeprefix(self._data)
                yield Event(event.kv.mod_revision + self._base, key, item.value if item else None)

    async def health(self) -> Health:
        found = await asyncio.gather(*map(self._member, self._connection.endpoints))
        return Health(kind="etcd", members=tuple(found))

    async def _member(self, endpoint: str) -> Member:
        try:
            said = await self._connection.once("Maintenance.Status", rpc.StatusRequest(), endpoint=endpoint)
        except ControlPlaneError as exc:
            return Member(name=endpoint, up=False, errors=(str(exc),))
        return Member(
            name=endpoint,
            up=True,
            leads=bool(said.leader) and said.leader == said.header.member_id,
            version=said.version,
            size=said.dbSize,
            errors=tuple(said.errors),
        )

    async def advance(self, revision: int) -> None:
        """Begin again above `revision`: every row is as if it had been written then. For `epochs`, while no replica runs.

        A replica that runs after all keeps its own count: what it signs is older than what agents hold, and refused.
        """
        found = await self._connection.read("KV.Range", rpc.RangeRequest(key=self._schema_key.encode()))
        document = _schema(found.kvs[0].value, self._schema_key)
        base = max(revision - found.header.revision, document.get("base", 0))
        changed = {**document, "version": BASED_VERSION, "base": base}
        put = rpc.PutRequest(key=self._schema_key.encode(), value=json.dumps(changed).encode())
        await self._connection.once("KV.Put", put)  # twice is no harm: it says where to begin, not how far
        self._base = base

    async def discard(self) -> None:
        """Undo `create` while nothing has been stored: somebody else's failure must not leave a husk."""
        puts = rpc.RangeRequest(key=self._data.encode(), range_end=self._range("")[1], limit=1)
        if not (await self._connection.read("KV.Range", puts)).kvs:
            end = etcd3.utils.increment_last_byte(self._prefix.encode())
            gone = rpc.DeleteRangeRequest(key=self._prefix.encode(), range_end=end)
            await self._connection.once("KV.DeleteRange", gone)

    async def close(self) -> None:
        await self._writer.close()
        await self._connection.close()

    def _range(self, prefix: str) -> tuple[bytes, bytes]:
        start = (self._data + prefix).encode()
        return start, etcd3.utils.increment_last_byte(start)

    def _item(self, kv: Any) -> Item:
        name = kv.key.decode()
        revision = kv.mod_revision + self._base
        return Item(name.removeprefix(self._data), self._sealer.open(name, kv.value), revision)

    async def _raw(self, key: str) -> bytes | None:
        reply = await self._connection.read("KV.Range", rpc.RangeRequest(key=key.encode()))
        return bytes(reply.kvs[0].value) if reply.kvs else None


def _schema(raw: bytes, key: str) -> dict[str, Any]:
    try:
        document = json.loads(raw)
        if type(document["version"]) is int and type(document["trust_domain"]) is str:
            bytes.fromhex(document["check"])
            if type(document.get("base", 0)) is int and document.get("base", 0) >= 0:
                return dict(document)
    except (ValueError, KeyError, TypeError) as exc:
        raise CorruptError(f"`{key}` is not ours", hint="give store.prefix a value of our own") from exc
    raise CorruptError(f"`{key}` is not ours", hint="give store.prefix a value of our own")
