"""Around every call: errors become statuses, nothing unknown leaks, and each call leaves one log line."""

import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import grpc
import structlog

from controlplane.api.status import to_status
from controlplane.errors import ControlPlaneError, InvalidError
from controlplane.services.identity.admission import Admission
from policies.errors import DocumentError, PolicyError

log = structlog.get_logger()


RENEW = "/writ.v1.Identity/Renew"
NODES = ("/writ.v1.Identity/", "/writ.v1.Evidence/")  # what nodes call beside their stream


class Guard(grpc.aio.ServerInterceptor):
    """Wraps unary handlers; streams handle their own errors through `ended`."""

    def __init__(self, admission: Admission | None = None) -> None:
        """`admission` bounds what nodes may ask at once."""
        self._admission = admission
        self._guarded: dict[str, tuple[Any, Any]] = {}  # method -> handler, and what it is with us around it

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(details)
        if handler is None or handler.unary_unary is None:
            return handler
        known, guarded = self._guarded.get(details.method, (None, None))
        if known is not handler:  # operators' are wrapped anew at each call, before us
            guarded = self._guard(details.method, handler)
            self._guarded[details.method] = (handler, guarded)
        return guarded

    def _guard(self, method: str, handler: Any) -> Any:
        inner = handler.unary_unary

        async def guarded(request: Any, context: grpc.aio.ServicerContext) -> Any:
            started = time.monotonic()
            try:
                with self._admitted(method):
                    reply = await inner(request, context)
            except Exception as exc:
                await ended(context, method, exc)
                raise
            log.debug("call", method=method, ms=round((time.monotonic() - started) * 1000, 1))
            return reply

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _admitted(self, method: str) -> AbstractContextManager[None]:
        if self._admission is None or not method.startswith(NODES):
            return nullcontext()
        return self._admission.renewal() if method == RENEW else self._admission.other()


async def ended(context: grpc.aio.ServicerContext, method: str, error: Exception) -> None:
    """Abort a call with what its error means; our own bugs show as INTERNAL, without details."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if isinstance(error, PolicyError):
        error = InvalidError(str(error), hint="writ policy lint")
    elif isinstance(error, DocumentError):
        error = InvalidError(str(error))
    if isinstance(error, ControlPlaneError):
        log.info("refused", method=method, reason=str(error), kind=type(error).__name__)
        await context.abort_with_status(to_status(error))  # type: ignore[attr-defined]  # the stubs lack it
    log.error("failed", method=method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, "internal error")
