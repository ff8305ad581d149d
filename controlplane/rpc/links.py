"""Links to the other replicas: one stream each, opened again with jitter, ended when the replica leaves the mesh.

A replica that is removed itself ends: nobody believes it any more.
"""

import asyncio
import contextlib
import random
from collections.abc import Callable

import grpc
import structlog

from controlplane.api.gen import replica_pb2, replica_pb2_grpc
from controlplane.authority_rows import ReplicaRow
from controlplane.errors import ControlPlaneError, PreconditionError
from controlplane.rpc.replica_api import states
from controlplane.rpc.server import Tls
from controlplane.services.mesh.replicas import Replicas
from controlplane.services.push.hub import Hub

log = structlog.get_logger()
FIRST_PAUSE_S, MAX_PAUSE_S = 0.1, 2.0
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.max_receive_message_length", 16 << 20),
]


class Links:
    """Keeps `hub` told of the agents of all other replicas."""

    def __init__(self, replicas: Replicas, hub: Hub, tls: Callable[[], Tls], trust_domain: str) -> None:
        self._replicas, self._hub, self._tls, self._trust_domain = replicas, hub, tls, trust_domain
        self.changed = asyncio.Event()
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._standing: set[str] = set()
        self._known: set[str] = set()
        self._listed = False

    def complete(self) -> bool:
        """Do we hear of the agents of every replica that the store lists?"""
        return self._listed and self._known <= self._standing

    async def run(self) -> None:
        self.changed.set()
        try:
            while True:
                await self.changed.wait()
                self.changed.clear()
                try:
                    known = [one.row for one in await self._replicas.all()]
                except ControlPlaneError as exc:
                    log.warning("replicas_unknown", reason=str(exc))
                    await asyncio.sleep(MAX_PAUSE_S)
                    self.changed.set()
                    continue
                others = [row for row in known if row.name != self._replicas.name]
                if others == known:
                    raise PreconditionError(
                        f"replica `{self._replicas.name}` was removed from the mesh", hint="stop it"
                    )
                await self._adjust(others)
        finally:
            await self._end(set(self._tasks))

    async def _adjust(self, others: list[ReplicaRow]) -> None:
        wanted = {(row.name, row.address) for row in others if row.address}
        await self._end(self._tasks.keys() - wanted)
        for name, address in wanted - self._tasks.keys():
            self._tasks[name, address] = asyncio.ensure_future(self._follow(name, address))
        self._known, self._listed = {row.name for row in others}, True
        self._hub.look_again()

    async def _end(self, gone: set[tuple[str, str]]) -> None:
        for key in gone:
            task = self._tasks.pop(key)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def _follow(self, name: str, address: str) -> None:
        pause = FIRST_PAUSE_S
        while True:
            try:
                async with self._channel(address) as channel:
                    async for message in replica_pb2_grpc.ReplicaStub(channel).Follow(
                        replica_pb2.FollowRequest()
                    ):
                        pause = FIRST_PAUSE_S
                        await self._told(name, message)
            except grpc.aio.AioRpcError as exc:
                log.info("link_lost", replica=name, reason=exc.details())
            finally:
                self._standing.discard(name)
                self._hub.replica_gone(name)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            pause = min(pause * 2, MAX_PAUSE_S)

    async def _told(self, name: str, message: replica_pb2.Agents) -> None:
        stood = name in self._standing
        self._standing.add(name)
        told = [state for state in states(message, name) if self._hub.told(state)]
        self._hub.agent_moved(*told)
        if not stood:  # who waits until every replica is heard must not wait for an agent to move
            self._hub.look_again()

    def _channel(self, address: str) -> grpc.aio.Channel:
        mine = self._tls()
        credentials = grpc.ssl_channel_credentials(mine.control_plane_cas, mine.key, mine.chain)
        name = f"control-plane.{self._trust_domain}"
        return grpc.aio.secure_channel(
            address, credentials, options=[*OPTIONS, ("grpc.ssl_target_name_override", name)]
        )
