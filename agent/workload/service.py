"""The Workload API as one part of the agent: what it needs to know, when it looks again, and its sockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from agent.controlplanes import ControlPlanes
from agent.errors import ConfigError
from agent.identity import Identity
from agent.sync import Sync
from agent.workload import entitled
from agent.workload.api import WorkloadServicer
from agent.workload.board import Board
from agent.workload.entitled import World
from agent.workload.errors import BadCallError, CallError, NotEntitledError, NotReadyError
from agent.workload.relay import Relay
from agent.workload.sds import SecretService
from agent.workload.svids import Svids
from agent.workload.tokens import Tokens
from certs import bundle
from certs.bundle import TrustBundle
from controlplane.api.gen import identity_pb2, identity_pb2_grpc, workload_pb2_grpc
from policies.documents import TrustDocument
from policies.roots import Roots

log = structlog.get_logger()
API = "/SpiffeWorkloadAPI/"
HEADER = "workload.spiffe.io"
CALL_S = 15
OPTIONS = [
    ("grpc.max_receive_message_length", 1 << 20),  # an Envoy says much of itself
    ("grpc.max_metadata_size", 8192),
    ("grpc.max_concurrent_streams", 256),
]
CODES: dict[type[CallError], grpc.StatusCode] = {
    BadCallError: grpc.StatusCode.INVALID_ARGUMENT,
    NotEntitledError: grpc.StatusCode.PERMISSION_DENIED,
    NotReadyError: grpc.StatusCode.UNAVAILABLE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What the agent around it gives."""

    sync: Sync
    roots: Callable[[], Roots]
    state_dir: Path  # keys of workloads are kept below it
    identity: Callable[[], Identity]
    control_planes: ControlPlanes


class WorkloadApi:
    """Serves until it is cancelled. `look_again` whenever documents or the node's certificate have changed."""

    def __init__(self, socket: Path | None, around: Around) -> None:
        """No socket: the operator wants nobody to be served."""
        self._inner, self._around = around.state_dir / "workload.sock", around
        self._relay = Relay(socket, self._inner) if socket else None
        self._board, self._changed = Board(), asyncio.Event()
        self._svids = Svids(around.roots, around.state_dir / "workloads", self._issue, self._changed.set)
        self._tokens = Tokens(self._mint)
        self._before: tuple[object, ...] = ()

    def look_again(self) -> None:
        self._changed.set()

    def reissue(self, cas: Collection[bytes], within_s: int) -> None:
        """CAs whose certificates are to be replaced."""
        self._svids.reissue(cas, within_s)

    async def run(self) -> None:
        if self._relay is not None:
            await self._serve(self._relay)

    async def _serve(self, relay: Relay) -> None:
        """Without a place for its socket the node goes on: nobody is given anything."""
        try:
            listening = relay.bind()
        except ConfigError as exc:
            log.warning("workload_api_off", reason=str(exc), hint=exc.hint)
            return
        server = self._server(relay)
        await server.start()
        self._inner.chmod(0o600)
        await relay.start(listening)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._svids.run())
                tasks.create_task(self._watch())
        finally:
            await relay.stop()
            await server.stop(0)

    def _server(self, relay: Relay) -> grpc.aio.Server:
        server = grpc.aio.server(interceptors=[_Edge()], options=OPTIONS)
        servicer = WorkloadServicer(relay, self._board, self._tokens, self._floors)
        workload_pb2_grpc.add_SpiffeWorkloadAPIServicer_to_server(servicer, server)
        server.add_generic_rpc_handlers((SecretService(relay, self._board).handler(),))
        with contextlib.suppress(FileNotFoundError):
            self._inner.unlink()
        server.add_insecure_port(f"unix:{self._inner}")
        return server

    # --- what is known -----------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            self._changed.clear()
            left = self._update()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left if left > 0 else None):
                    await self._changed.wait()

    def _update(self) -> float:
        """Show what is so now; the seconds until it is otherwise by time alone."""
        received, identity = self._around.sync.received, self._around.identity()
        trusted, now = received.trusted, time.time()
        registered = trusted.workloads.workloads if trusted.workloads else ()
        federated = trusted.workloads.federated if trusted.workloads else ()
        problem = entitled.standing(
            identity,
            trusted.trust,
            received.lease,
            denied=self._around.sync.denied,
            now=now,
            boottime=time.clock_gettime(time.CLOCK_BOOTTIME),
        )
        cas = trusted.trust.workload_cas if trusted.trust else ()
        jwt_keys = trusted.trust.jwt_keys if trusted.trust else ()
        known = (registered, identity.epoch, identity.attributes, cas, jwt_keys)
        if trusted.workloads is not None and known != self._before:  # who knows nothing yet forgets nothing
            self._before = known
            self._svids.want(registered, identity, cas)
            self._tokens.forget()
        self._board.show(
            World(
                problem=problem,
                registered=registered,
                svids=self._svids.current(now),
                bundle=_bundle(trusted.trust) if trusted.trust else None,
                federated={one.trust_domain: one for one in federated},
            )
        )
        return received.lease.until - now

    def _floors(self) -> dict[str, int | None]:
        trust = self._around.sync.received.trusted.trust
        return trust.floors if trust else {}

    # --- asking the control plane ------------------------------------------------------------------------------

    async def _issue(self, workload: str, csr: bytes) -> Sequence[bytes]:
        request = identity_pb2.IssueWorkloadRequest(workload=workload, csr=csr)
        reply = await self._asked(lambda stub: stub.IssueWorkload(request, timeout=CALL_S))
        return tuple(reply.chain)

    async def _mint(self, workload: str, audiences: Sequence[str]) -> tuple[str, int]:
        request = identity_pb2.MintJwtRequest(workload=workload, audience=audiences)
        reply = await self._asked(lambda stub: stub.MintJwt(request, timeout=CALL_S))
        return reply.token, reply.expires_at

    async def _asked(self, call: Callable[[identity_pb2_grpc.IdentityStub], Awaitable[Any]]) -> Any:
        return await self._around.control_planes.ask(
            lambda open_: _answered(call(identity_pb2_grpc.IdentityStub(open_))), NotReadyError
        )


async def _answered(call: Awaitable[Any]) -> Any:
    """What the control plane refuses is refused; anything else may be better elsewhere, or later."""
    try:
        return await call
    except grpc.aio.AioRpcError as exc:
        kind: type[CallError] = {
            grpc.StatusCode.INVALID_ARGUMENT: BadCallError,
            grpc.StatusCode.PERMISSION_DENIED: NotEntitledError,
        }.get(exc.code(), NotReadyError)
        raise kind(exc.details() or exc.code().name) from exc
    except asyncio.CancelledError as exc:
        if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # runs in a task
            raise
        raise NotReadyError("the node's certificate is being renewed") from exc


def _bundle(trust: TrustDocument) -> TrustBundle:
    keys = [bundle.public_key(spki) for spki in trust.jwt_keys]
    return TrustBundle(
        trust_domain=trust.trust_domain,
        roots=trust.roots,
        jwt_keys={bundle.key_id(key): key for key in keys},
    )


class _Edge(grpc.aio.ServerInterceptor):
    """The header that keeps a browser's or proxy's request from being one of ours, and errors as statuses."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        sent = [value for name, value in details.invocation_metadata if name == HEADER]
        lacks_header = details.method.startswith(API) and sent != ["true"]
        return _guarded(handler, lacks_header)


def _guarded(handler: Any, lacks_header: bool) -> Any:
    coders = {
        "request_deserializer": handler.request_deserializer,
        "response_serializer": handler.response_serializer,
    }

    async def unary(request: Any, context: grpc.aio.ServicerContext) -> Any:
        async with _ended_as_status(context, lacks_header):
            return await handler.unary_unary(request, context)

    async def streaming(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        async with _ended_as_status(context, lacks_header):
            async for response in (handler.unary_stream or handler.stream_stream)(request, context):
                yield response

    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(unary, **coders)
    if handler.unary_stream:
        return grpc.unary_stream_rpc_method_handler(streaming, **coders)
    return grpc.stream_stream_rpc_method_handler(streaming, **coders)


@contextlib.asynccontextmanager
async def _ended_as_status(context: grpc.aio.ServicerContext, lacks_header: bool) -> AsyncIterator[None]:
    try:
        if lacks_header:
            raise BadCallError("security header missing from request")
        yield
    except CallError as exc:
        log.info("workload_refused", kind=type(exc).__name__, reason=str(exc))
        await context.abort(CODES[type(exc)], str(exc))
