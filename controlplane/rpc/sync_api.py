"""Sync: one stream per agent. Down go signed documents (`sync_down`); up comes what is enforced.

One stream of each node begins, and one is served: the latest of each, and the one before is told why it ends.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import structlog

from certs import envelope
from certs.errors import EnvelopeError
from certs.verify import NodeIdentity
from controlplane.api.gen import sync_pb2
from controlplane.errors import InvalidError, SupersededError
from controlplane.model import NodeRow
from controlplane.rpc import convert
from controlplane.rpc.guard import ended
from controlplane.rpc.peer import Peers
from controlplane.rpc.sync_down import Down, Sent, has_ended
from controlplane.services.identity.admission import Admission
from controlplane.services.identity.nodes import Nodes
from controlplane.services.push.beginnings import Beginnings
from controlplane.services.push.hub import AgentState, keep_receipt
from controlplane.services.push.publish import Publisher
from controlplane.services.restore.held import Held
from policies import documents as d
from policies import payloads
from policies.errors import DocumentError

log = structlog.get_logger()
METHOD = "/writ.v1.Sync/Connect"
HELLO_S = 10
MAX_NOT_CUT, MAX_UNREACHABLE, MAX_FEATURES = 64, 64, 16
PORTS, MAX_ADDRESS = range(1, 65536), 255
Context = grpc.aio.ServicerContext


class SyncServicer:
    """Handles the one stream. Requests are parsed, responses are bytes already."""

    def __init__(
        self,
        peers: Peers,
        publisher: Publisher,
        nodes: Nodes,
        admission: Admission,
        reissue_within_s: int = 1,
    ) -> None:
        """`reissue_within_s`: how long agents may take to replace what a tainted CA signed."""
        self._peers, self._publisher, self._nodes = peers, publisher, nodes
        self._hub, self._admission, self._beginnings = publisher.hub, admission, Beginnings()
        self._reissue_within_s = reissue_within_s

    def handler(self) -> grpc.GenericRpcHandler:
        method = grpc.stream_stream_rpc_method_handler(
            self.connect, request_deserializer=sync_pb2.SyncRequest.FromString, response_serializer=None
        )
        return grpc.method_handlers_generic_handler("writ.v1.Sync", {"Connect": method})

    async def connect(self, requests: AsyncIterator[sync_pb2.SyncRequest], context: Context) -> None:
        try:
            name = str(self._peers.presented(context).spiffe_id)
            async with self._beginnings.only(name):
                hello = await _hello(requests)  # before the line: whoever says nothing must not stand in it
                with self._admission.arriving():
                    async with self._admission.turn():
                        caller, _ = await self._peers.heard(context)
                        held = Held(heartbeat=hello.held.heartbeat, delegation=hello.held.delegation)
                        await self._publisher.shown(held)
                        noted = await self._note(caller, hello)
            await self._session(caller, hello, noted, requests, context)
        except Exception as exc:  # noqa: BLE001 - the edge: everything ends as a status
            await ended(context, METHOD, exc)

    async def _session(
        self,
        caller: NodeIdentity,
        hello: sync_pb2.Hello,
        noted: tuple[NodeRow, bool],
        requests: AsyncIterator[sync_pb2.SyncRequest],
        context: Context,
    ) -> None:
        name, (row, changed) = str(caller.spiffe_id), noted
        reader = asyncio.ensure_future(self._read(caller, requests))
        state, wake = self._hub.attach(name, lambda: _cancel(reader))
        state.agent_version, state.envoy_version = hello.agent_version[:64], hello.envoy_version[:64]
        state.last_seen, state.renew_serial = int(time.time()), row.renew_serial
        state.features, state.shadow = frozenset(list(hello.features)[:MAX_FEATURES]), None
        state.certificate = self._peers.certificate(context)
        self._hub.agent_moved(state)
        sent = Sent(trust=hello.trust_digest, blobs=set(hello.blob_digests))
        tasks = [reader]
        try:  # from here on: whatever fails, the hub must not keep a session that nobody serves
            await self._note_shown(caller, state)
            if changed or name not in self._publisher.nodes:
                self._publisher.bundles_due.set()
            log.info("agent_connected", node=caller.spiffe_id.short, version=state.agent_version)
            down = Down(self._publisher, caller, context, state, sent, self._reissue_within_s)
            tasks.append(asyncio.ensure_future(down.run(wake)))
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if not task.cancelled():
                    task.result()
            if not has_ended(caller):
                await self._peers.heard(context)  # says why, if the session was ended on purpose
            if not self._hub.serves(name, wake):
                raise SupersededError(caller.spiffe_id.short)
        finally:
            for task in tasks:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, Exception):
                    await task
            self._hub.detach(name, wake)
            self._hub.agent_moved(state)
            log.info("agent_gone", node=caller.spiffe_id.short)

    async def _note_shown(self, caller: NodeIdentity, state: AgentState) -> None:
        """An agent that has shown a certificate has it on disk, and never shows the one before again: somebody else does.

        That is an alarm and no lock, which a renewal of the copy brings: here the two are told apart by the order of arrival.
        """
        serial, (epoch, newest) = f"{caller.serial:x}", state.shown
        if newest and serial != newest and await self._nodes.follower(serial) == newest:
            state.copied += 1
            log.error("older_certificate_used", node=caller.spiffe_id.short, serial=serial)
            return
        state.copied = 0 if caller.epoch > epoch else state.copied  # enrolled again: the copy is dead
        state.shown = caller.epoch, serial

    async def _note(self, caller: NodeIdentity, hello: sync_pb2.Hello) -> tuple[NodeRow, bool]:
        facts = {"address": _address(hello.ingress_address)}
        if hello.evidence_key:
            statement = _statement(caller, hello.evidence_key, d.TYPE_EVIDENCE_KEY, {"vkey": str})
            facts["evidence_key"] = str(statement["vkey"])
        return await self._nodes.note(caller.spiffe_id.node, caller.spiffe_id.site, **facts)

    async def _read(self, caller: NodeIdentity, requests: AsyncIterator[sync_pb2.SyncRequest]) -> None:
        state = self._hub.agents.get(str(caller.spiffe_id))
        async for request in requests:
            state = state or self._hub.agents[str(caller.spiffe_id)]
            state.last_seen = int(time.time())
            match request.WhichOneof("event"):
                case "enforcing":
                    _note_enforcing(state, request.enforcing)
                    if request.enforcing.receipt:
                        self._receipt(caller, state, request.enforcing.receipt)
                case "health":
                    _note_health(state, request.health)
                case "receipt":
                    self._receipt(caller, state, request.receipt)
                case _:
                    raise InvalidError("hello comes once; other events must be known")
            self._hub.agent_moved(state)

    def _receipt(self, caller: NodeIdentity, state: AgentState, data: bytes) -> None:
        statement = _statement(caller, data, d.TYPE_RECEIPT, {"node": str, "generation": int, "at_ms": int})
        if statement["node"] != str(caller.spiffe_id):
            raise InvalidError("a receipt is for its own node")
        keep_receipt(state, statement["generation"], int(time.time() * 1000), data)


async def _hello(requests: AsyncIterator[sync_pb2.SyncRequest]) -> sync_pb2.Hello:
    first = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(HELLO_S):
            first = await anext(requests, None)
    if first is None or first.WhichOneof("event") != "hello":
        raise InvalidError("a stream begins with hello")
    return first.hello


def _cancel(task: asyncio.Future[None]) -> None:
    task.cancel()


def _note_enforcing(state: AgentState, said: sync_pb2.Enforcing) -> None:
    state.generation, state.policy_version = said.generation, said.policy_version
    state.staged, state.error = frozenset(list(said.staged_versions)[:8]), said.error[:500]


def _note_health(state: AgentState, said: sync_pb2.Health) -> None:
    state.shadow = convert.shadow(said)
    state.lease_until, state.records, state.gaps = said.lease_until, said.records, said.gaps
    state.not_cut = [line[:200] for line in said.not_cut[:MAX_NOT_CUT]]
    state.cannot_cut, state.evidence_unwritable = said.cannot_cut, said.evidence_unwritable
    state.clock_off_ms = said.clock_ms - int(time.time() * 1000) if said.clock_ms else 0
    state.unreachable = [name[:128] for name in said.unreachable[:MAX_UNREACHABLE]]


def _statement(caller: NodeIdentity, data: bytes, kind: str, shape: dict[str, type]) -> dict[str, Any]:
    """What a node says of itself, signed by the key of its certificate."""
    try:
        parsed = envelope.parse(data, payloads.MAX_DOCUMENT_BYTES[kind])
        return payloads.load_statement(envelope.verify_p256(parsed, kind, caller.public_key), shape)
    except (EnvelopeError, DocumentError) as exc:
        raise InvalidError(f"statement of `{caller.spiffe_id.short}`: {exc}") from exc


def _address(text: str) -> str:
    host, colon, port = text.rpartition(":")
    if (
        not (host and colon and port.isdigit() and int(port) in PORTS)
        or len(text) > MAX_ADDRESS
        or not host.isprintable()
    ):
        raise InvalidError(f"`{text[:64]}` is no host:port")
    return text
