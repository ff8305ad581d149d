"""Around every call of an operator, whatever serves it.

1. Who calls, by the credential that this port takes; a caller without one is nobody.
2. May he: the table (`permissions`), with his role and sites as the store has them now. What is not in the table is refused.
3. Where the mesh asks for two operators, what widens access waits for the other one (`services.approvals`).
4. It is recorded (`rpc.account`) before anything is done, and with its outcome before the answer leaves; what cannot be
   recorded does not happen.
5. The answer holds no more than his sites let him see.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import grpc

from controlplane.errors import DeniedError, WaitingError
from controlplane.rpc import permissions
from controlplane.rpc.account import Account, Asked, asked, encoded
from controlplane.rpc.caller import CALLER
from controlplane.rpc.guard import ended
from controlplane.rpc.peer import Peers
from controlplane.rpc.permissions import Kind, Row
from controlplane.services.admin.approvals import Approvals
from controlplane.services.admin.grants import Grant
from controlplane.services.admin.operators import Operators
from controlplane.services.admin.tokens import TokenBearers
from controlplane.services.admin.widening import Widening

BEARER = "Bearer "
PACKAGE = "writ.v1"
NOT_OURS = {"Enrolment", "Identity", "Sync", "Evidence", "Replica"}
"""Services of nodes and replicas. Every other service of this API is for operators, also one that is added later."""
Context = grpc.aio.ServicerContext
Who = Callable[[Context], Awaitable[Grant]]


def by_certificate(peers: Peers, operators: Operators) -> Who:
    """The operator of the TLS client certificate, as the store has him now."""

    async def who(context: Context) -> Grant:
        name = peers.operator(context).path[-1]
        return await operators.of(name, peers.serial(context))

    return who


def by_token(bearers: TokenBearers) -> Who:
    """The operator of the one bearer token in the call's metadata. Certificates mean nothing on this port."""

    async def who(context: Context) -> Grant:
        if context.auth_context().get("ssl_tls_version") != [b"TLSv1.3"]:
            raise DeniedError("TLS 1.3 is required")
        given = [value for key, value in context.invocation_metadata() or () if key == "authorization"]
        if len(given) != 1 or not isinstance(given[0], str) or not given[0].startswith(BEARER):
            raise DeniedError("one bearer token is required", hint="writ login")
        return await bearers.of(given[0].removeprefix(BEARER))

    return who


class Administration(grpc.aio.ServerInterceptor):
    """Wraps every method of operators' services; those of nodes and replicas pass, and who calls them is their business."""

    def __init__(self, who: Who, account: Account, approvals: Approvals, widening: Widening) -> None:
        self._who, self._account = who, account
        self._approvals, self._widening = approvals, widening

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(details)
        service, _, call = details.method.removeprefix("/").partition("/")
        package, _, name = service.rpartition(".")
        if handler is None or package != PACKAGE or name in NOT_OURS:
            return handler
        coding = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(service, call, handler.unary_unary), **coding
            )
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(details.method, call, handler.unary_stream), **coding
            )
        raise RuntimeError(f"`{call}` has a form that is not guarded")

    def _unary(self, service: str, call: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(request: Any, context: Context) -> Any:
            about = asked(call, request)
            grant, row = await self._permitted(f"{service}/{call}", about, request, context)
            changes = row.kind is not Kind.READ
            reply = await self._account.done(about, grant, lambda: inner(request, context), changes=changes)
            return row.narrow(reply, grant)

        return guarded

    def _stream(self, method: str, call: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                about = asked(call, request)
                grant, row = await self._permitted(method, about, request, context)
                await self._account.keep(about, grant, "ok")
            except Exception as exc:  # noqa: BLE001 - the edge: everything ends as a status
                await ended(context, method, exc)
                return
            CALLER.set(grant)
            async for event in inner(request, context):
                seen = row.narrow(event, grant)
                if seen is not None:
                    yield seen

        return guarded

    async def _permitted(
        self, method: str, about: Asked, request: Any, context: Context
    ) -> tuple[Grant, Row]:
        """(1), (2), (3); a refusal is recorded."""
        grant: Grant | None = None
        try:
            grant = await self._who(context)
            row = permissions.check(about.call, request, grant)
            if row.kind is Kind.WIDEN:
                await self._agreed(method, about, request, grant)
        except WaitingError as exc:
            await self._account.keep(replace(about, approval=exc.approval), grant, "waiting")
            raise
        except Exception as exc:
            await self._account.refused(about, grant, exc)
            raise
        return grant, row

    async def _agreed(self, method: str, about: Asked, request: Any, grant: Grant) -> None:
        """(3) WaitingError where another operator has to agree."""
        if await self._approvals.required() and await self._widening.widens(about.call, request, grant):
            waiting = await self._approvals.ask(grant, method, about.target, encoded(request))
            raise WaitingError(waiting.id)
