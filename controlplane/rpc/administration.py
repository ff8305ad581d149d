"""Around every call of an operator, whatever serves it.

1. Who calls, by the credential that this port takes; a caller without one is nobody.
2. May he: the table (`permissions`), with his role and sites as the store has them now. What is not in the table is refused.
3. It is recorded (`services.recording`) before anything is done, and with its outcome before the answer leaves; what cannot
   be recorded does not happen.
4. The answer holds no more than his sites let him see.
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import grpc

from controlplane.errors import ControlPlaneError, DeniedError
from controlplane.rpc import permissions
from controlplane.rpc.guard import ended
from controlplane.rpc.operators import CALLER
from controlplane.rpc.peer import Peers
from controlplane.services.grants import Grant
from controlplane.services.operators import Operators
from controlplane.services.recording import Recording
from controlplane.services.tokens import TokenBearers
from policies.errors import DocumentError, PolicyError

BEARER = "Bearer "
SERVICES = {"writ.v1.Admin", "writ.v1.Overview"}
Context = grpc.aio.ServicerContext
Who = Callable[[Context], Awaitable[Grant]]
NAMES = ("name", "key_id", "caller", "id", "version", "generation")
"""Fields that name what a request is about, where it names no node."""


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """A call as it is recorded."""

    id: str
    call: str
    target: str
    arguments: str


class Administration(grpc.aio.ServerInterceptor):
    """Wraps the methods of `SERVICES`; those of others pass."""

    def __init__(self, who: Who, recording: Recording) -> None:
        self._who, self._recording = who, recording

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(details)
        service, _, call = details.method.removeprefix("/").partition("/")
        if handler is None or service not in SERVICES:
            return handler
        coding = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary is not None:
            return grpc.unary_unary_rpc_method_handler(self._unary(call, handler.unary_unary), **coding)
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._stream(details.method, call, handler.unary_stream), **coding
            )
        raise RuntimeError(f"`{call}` has a form that is not guarded")

    def _unary(self, call: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(request: Any, context: Context) -> Any:
            asked = _asked(call, request)
            grant, row = await self._permitted(asked, request, context)
            if row.changes:
                await self._keep(asked, grant, "begun", lasting=False)
            reply = await self._done(asked, grant, inner(request, context), final=row.changes)
            await self._keep(asked, grant, "ok", final=row.changes)
            return row.narrow(reply, grant)

        return guarded

    def _stream(self, method: str, call: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
            try:
                asked = _asked(call, request)
                grant, row = await self._permitted(asked, request, context)
                await self._keep(asked, grant, "ok")
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
        self, asked: _Asked, request: Any, context: Context
    ) -> tuple[Grant, permissions.Row]:
        """(1), (2); a refusal is recorded."""
        grant: Grant | None = None
        try:
            grant = await self._who(context)
            return grant, permissions.check(asked.call, request, grant)
        except ControlPlaneError as exc:
            if grant is not None or not self._recording.counts_stranger():
                await self._keep(asked, grant, _outcome(exc), str(exc))
            raise

    async def _done(self, asked: _Asked, grant: Grant, work: Awaitable[Any], *, final: bool) -> Any:
        """The call itself; however it fails, that is recorded."""
        CALLER.set(grant)
        try:
            return await work
        except asyncio.CancelledError:
            await asyncio.shield(
                self._keep(asked, grant, "cancelled", "the caller left; it may have been done")
            )
            raise
        except Exception as exc:
            why = str(exc) if _known(exc) else type(exc).__name__
            await self._keep(asked, grant, _outcome(exc), why, final=final)
            raise

    async def _keep(
        self,
        asked: _Asked,
        grant: Grant | None,
        outcome: str,
        reason: str = "",
        *,
        lasting: bool = True,
        final: bool = False,
    ) -> None:
        """(3)"""
        who = {"operator": grant.name, "role": grant.role, "credential": grant.credential} if grant else {}
        await self._recording.keep(
            call_id=asked.id,
            call=asked.call,
            outcome=outcome,
            lasting=lasting,
            final=final,
            **{"target": asked.target, "arguments": asked.arguments, "reason": reason, **who},
        )


def _asked(call: str, request: Any) -> _Asked:
    digest = hashlib.sha256(request.SerializeToString(deterministic=True)).hexdigest()
    return _Asked(secrets.token_hex(8), call, target(request), digest)


def target(request: Any) -> str:
    """What a request names: a node, a site, an operator, a key, a version; empty for none."""
    about = getattr(request, "operator", request)
    node, site = getattr(about, "node", ""), getattr(about, "site", "")
    if node or site:
        named = getattr(about, "name", "")
        place = ".".join(part for part in (node, site) if part)
        return f"{named}@{place}" if named else place
    return next((str(value) for name in NAMES if (value := getattr(about, name, ""))), "")


def _known(exc: Exception) -> bool:
    return isinstance(exc, ControlPlaneError | PolicyError | DocumentError)


def _outcome(exc: Exception) -> str:
    """The kind of refusal, in the word of its class: `denied`, `conflict`, `invalid`."""
    if isinstance(exc, PolicyError | DocumentError):
        return "invalid"
    return type(exc).__name__.removesuffix("Error").lower() if _known(exc) else "failed"
