"""The xDS server on a Unix socket: Envoy asks for what it needs, gets the newest, and says whether it took it.

Aggregated, state of the world. Only changed resources are sent (clusters, whose absence means removal, always all). A
configuration counts when Envoy has acknowledged it, never when it was sent; what it refuses it has not, and keeps the one
before. A reconnecting Envoy gets everything anew; meanwhile it goes on with what it has: a type that was never offered is
not answered, for "no clusters" from an agent that has only just started would take away what Envoy rightly enforces.
"""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse, Resource
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from agent.envoy import pb
from agent.errors import NotAcknowledgedError, RejectedError

BASE = "type.googleapis.com/"
CLUSTER = BASE + "envoy.config.cluster.v3.Cluster"
ROUTE = BASE + "envoy.config.route.v3.RouteConfiguration"
SECRET = BASE + "envoy.extensions.transport_sockets.tls.v3.Secret"
EXTENSION = BASE + "envoy.config.core.v3.TypedExtensionConfig"
ORDER = (SECRET, CLUSTER, ROUTE, EXTENSION)  # clusters before the routes that name them
MAX_MESSAGE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One resource as it goes on the wire. `ttl_s` 0: until replaced."""

    packed: Any
    version: str

    @classmethod
    def of(cls, name: str, message: Message, ttl_s: int = 0) -> "Entry":
        """`name` and a TTL make the wrapper that lets Envoy drop the resource when we fall silent."""
        packed = pb.packed(message)
        version = hashlib.sha256(packed.SerializeToString(deterministic=True)).hexdigest()[:16]
        if ttl_s:
            wrapped = Resource(name=name, version=version, resource=packed, ttl=Duration(seconds=ttl_s))
            packed = pb.packed(wrapped)
        return cls(packed, version)


Snapshot = Mapping[str, Mapping[str, Entry]]
"""type URL -> resource name -> entry."""


@dataclass(slots=True)
class _Stream:
    """One connected Envoy. Owned by its handler."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: dict[str, set[str]] = field(default_factory=dict)  # type -> names; empty set: all
    sent: dict[str, dict[str, str]] = field(default_factory=dict)
    pending: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)  # type -> (nonce, versions)
    acknowledged: dict[str, dict[str, str]] = field(default_factory=dict)
    nonce: int = 0


class AdsServer:
    """Serves snapshots; `publish` returns when Envoy enforces one."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._server: grpc.aio.Server | None = None
        self._snapshot: dict[str, dict[str, Entry]] = {}
        self._stream: _Stream | None = None
        self._moved = asyncio.Condition()
        self._rejected: dict[str, str] = {}

    async def start(self) -> None:
        server = self._server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)]
        )
        method = grpc.stream_stream_rpc_method_handler(
            self._serve, request_deserializer=DiscoveryRequest.FromString, response_serializer=_serialize
        )
        service = "envoy.service.discovery.v3.AggregatedDiscoveryService"
        handlers = {"StreamAggregatedResources": method}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        with contextlib.suppress(FileNotFoundError):
            self._socket.unlink()
        server.add_insecure_port(f"unix:{self._socket}")
        await server.start()
        self._socket.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            await self._server.stop(0)

    @property
    def connected(self) -> bool:
        return self._stream is not None

    def offer(self, snapshot: Snapshot) -> None:
        """Make these the newest; types that are not named keep what they have."""
        for kind, entries in snapshot.items():
            self._snapshot[kind] = dict(entries)
        self._rejected.clear()
        if self._stream is not None:
            self._stream.wake.set()

    def resend(self, kind: str) -> None:
        """Send all of a type again with the next change: Envoy may have dropped what it had."""
        if self._stream is not None:
            self._stream.sent.pop(kind, None)

    async def publish(self, snapshot: Snapshot, timeout_s: float = 10.0) -> None:
        """Offer, and wait until Envoy has taken all of it. RejectedError when it refuses, NotAcknowledgedError in time."""
        self.offer(snapshot)
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: bool(self._rejected) or self._settled(snapshot))
        except TimeoutError as exc:
            raise NotAcknowledgedError("Envoy has not acknowledged in time") from exc
        if self._rejected:
            kind, detail = next(iter(self._rejected.items()))
            raise RejectedError(f"Envoy refused {kind.rpartition('.')[2]}: {detail[:500]}")

    def _settled(self, snapshot: Snapshot) -> bool:
        stream = self._stream
        if stream is None:
            return False
        for kind in snapshot:
            have = stream.acknowledged.get(kind)
            wanted = stream.wanted.get(kind)
            if have is None or wanted is None:
                return False
            for name, entry in self._snapshot[kind].items():
                if (not wanted or name in wanted) and have.get(name) != entry.version:
                    return False
            if kind == CLUSTER and set(have) != set(self._snapshot[kind]):
                return False
        return True

    async def _serve(
        self, requests: AsyncIterator[DiscoveryRequest], context: grpc.aio.ServicerContext
    ) -> None:
        stream = self._stream = _Stream()
        reader = asyncio.ensure_future(self._read(stream, requests))
        reader.add_done_callback(lambda _: stream.wake.set())
        try:
            while not reader.done():
                await stream.wake.wait()
                stream.wake.clear()
                for kind in ORDER:
                    response = self._next(stream, kind)
                    if response is not None:
                        await context.write(response)
        finally:
            reader.cancel()
            if self._stream is stream:
                self._stream = None
            await self._tell()

    async def _read(self, stream: _Stream, requests: AsyncIterator[DiscoveryRequest]) -> None:
        async for request in requests:
            kind = request.type_url
            nonce, versions = stream.pending.get(kind, ("", {}))
            if request.response_nonce and request.response_nonce == nonce:
                del stream.pending[kind]
                if request.HasField("error_detail"):
                    self._rejected[kind] = request.error_detail.message
                else:
                    stream.acknowledged[kind] = versions
            stream.wanted[kind] = set(request.resource_names)
            stream.wake.set()
            await self._tell()

    def _next(self, stream: _Stream, kind: str) -> DiscoveryResponse | None:
        """What Envoy lacks of one type; nothing while there is nothing to offer, or an answer is unacknowledged."""
        wanted = stream.wanted.get(kind)
        if wanted is None or kind in stream.pending or kind not in self._snapshot:
            return None
        entries = {name: one for name, one in self._snapshot[kind].items() if not wanted or name in wanted}
        sent = stream.sent.setdefault(kind, {})
        fresh = {name: one for name, one in entries.items() if sent.get(name) != one.version}
        gone = kind == CLUSTER and set(sent) != set(entries)
        if not fresh and not gone and not (kind == CLUSTER and kind not in stream.acknowledged):
            return None
        stream.nonce += 1
        whole = entries if kind == CLUSTER else fresh
        versions = {name: one.version for name, one in entries.items()}
        stream.sent[kind] = versions
        stream.pending[kind] = (str(stream.nonce), versions)
        return DiscoveryResponse(
            version_info=str(stream.nonce),
            resources=[one.packed for one in whole.values()],
            type_url=kind,
            nonce=str(stream.nonce),
        )

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()


def _serialize(message: DiscoveryResponse) -> bytes:
    return bytes(message.SerializeToString())
