"""Talk to an etcd cluster: a channel per member, a deadline on every call, and errors by what they leave certain.

The `etcd3` package brings messages and stubs. Its client is not used: it blocks a thread per call, knows one member, and
hands a watch that broke to its callback as if it were an event.

A member that does not answer is left for the next. Reads are asked again there. A write whose outcome is not known is
never sent again: `AmbiguousError` goes to the caller, who must find out (`store`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc

from controlplane.errors import CompactedError, InvalidError, UnavailableError
from controlplane.store.etcd.stubs import rpc

T = TypeVar("T")
CALL_S = 2.0  # one attempt: a member without quorum answers nothing at all
TOTAL_S = 8.0  # all attempts of one read
PAUSE_S = 0.05
OPTIONS = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 256 << 20),  # a list of every node is one answer
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
]
CODE = grpc.StatusCode


class AmbiguousError(UnavailableError):
    """The call may or may not have been executed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How to reach etcd: members as host:port, and with what to prove who we are. PEM bytes; empty: not used."""

    endpoints: tuple[str, ...]
    ca: bytes = b""
    certificate: bytes = b""
    key: bytes = b""
    user: str = ""
    password: str = ""


class Connection:
    """Calls on whichever member answers. Everybody in this process shares one."""

    def __init__(self, access: Access) -> None:
        if not access.endpoints:
            raise InvalidError("etcd needs at least one endpoint", hint='store.endpoints = ["host:2379"]')
        self._access = access
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._at = random.randrange(len(access.endpoints))  # noqa: S311 - spreads replicas over members
        self._token: tuple[tuple[str, str], ...] = ()
        self._signing_in = asyncio.Lock()

    @property
    def endpoint(self) -> str:
        return self._access.endpoints[self._at]

    @property
    def endpoints(self) -> Sequence[str]:
        return self._access.endpoints

    def rotate(self, failed: str) -> None:
        """Leave a member that failed, unless somebody has already."""
        if failed == self.endpoint:
            self._at = (self._at + 1) % len(self._access.endpoints)

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close(None)

    async def read(self, method: str, request: Any) -> Any:
        """A call without effect: asked of one member after the other until one answers."""
        deadline = asyncio.get_running_loop().time() + TOTAL_S
        while True:
            try:
                return await self.once(method, request)
            except AmbiguousError as exc:
                if asyncio.get_running_loop().time() + PAUSE_S > deadline:
                    raise UnavailableError(str(exc), hint=exc.hint) from exc
                await asyncio.sleep(PAUSE_S)

    async def once(self, method: str, request: Any, *, endpoint: str = "") -> Any:
        """One attempt. `method` is `Service.Method` of etcd's API."""
        at = endpoint or self.endpoint
        try:
            return await self._signed_in(lambda: self._call(at, method, request))
        except grpc.aio.AioRpcError as exc:
            self.rotate(at)
            raise translated(exc, at) from exc

    async def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a stream must carry to be let in."""
        if self._access.user and not self._token:
            await self._sign_in(())
        return self._token

    def channel(self, endpoint: str) -> grpc.aio.Channel:
        if endpoint not in self._channels:
            self._channels[endpoint] = self._open(endpoint)
        return self._channels[endpoint]

    def _open(self, endpoint: str) -> grpc.aio.Channel:
        access = self._access
        if not access.ca:
            return grpc.aio.insecure_channel(endpoint, options=OPTIONS)
        credentials = grpc.ssl_channel_credentials(access.ca, access.key or None, access.certificate or None)
        return grpc.aio.secure_channel(endpoint, credentials, options=OPTIONS)

    async def _call(self, endpoint: str, method: str, request: Any) -> Any:
        service, _, name = method.partition(".")
        stub = getattr(rpc, f"{service}Stub")(self.channel(endpoint))
        return await getattr(stub, name)(request, timeout=CALL_S, metadata=await self.metadata())

    async def _signed_in(self, call: Callable[[], Awaitable[T]]) -> T:
        """A token ends, or is unknown to another member: refused calls were not executed, and may be sent again."""
        used = self._token
        try:
            return await call()
        except grpc.aio.AioRpcError as exc:
            stale = exc.code() is CODE.UNAUTHENTICATED or "auth store is old" in (exc.details() or "")
            if not (self._access.user and stale):
                raise
            await self._sign_in(used)
        return await call()

    async def _sign_in(self, used: tuple[tuple[str, str], ...]) -> None:
        async with self._signing_in:
            if self._token != used:
                return  # somebody else has meanwhile
            request = rpc.AuthenticateRequest(name=self._access.user, password=self._access.password)
            stub = rpc.AuthStub(self.channel(self.endpoint))
            reply = await stub.Authenticate(request, timeout=CALL_S)
            self._token = (("token", reply.token),)


def translated(exc: grpc.aio.AioRpcError, endpoint: str) -> Exception:
    """What an error of etcd's means to us."""
    code, text = exc.code(), exc.details() or ""
    if code is CODE.OUT_OF_RANGE and "compacted" in text:
        return CompactedError(text)
    if code is CODE.RESOURCE_EXHAUSTED and "space exceeded" in text:
        hint = "compact and defragment etcd, raise its quota, then `etcdctl alarm disarm`"
        return UnavailableError("etcd is full (alarm NOSPACE): it reads, and takes no write", hint=hint)
    if code in {CODE.UNAUTHENTICATED, CODE.PERMISSION_DENIED} or "authentication failed" in text:
        hint = "check store.user, store.password_file and the role's permission on our prefix"
        return UnavailableError(f"etcd `{endpoint}` refuses our credentials: {text}", hint=hint)
    if "user name is empty" in text:
        return UnavailableError(
            f"etcd `{endpoint}` wants a user", hint="set store.user and store.password_file"
        )
    if code is CODE.UNIMPLEMENTED:
        return UnavailableError(f"`{endpoint}` is no etcd: {text}", hint="check store.endpoints")
    if code in {CODE.INVALID_ARGUMENT, CODE.FAILED_PRECONDITION, CODE.RESOURCE_EXHAUSTED}:
        return InvalidError(f"etcd refuses: {text}")
    hint = "is it running and reachable, and do store.ca_file and its certificate match?"
    if "HANDSHAKE_FAILURE" in text:
        hint = (
            "an etcd that speaks no TLS 1.3 needs an RSA certificate; does it accept store.certificate_file?"
        )
    return AmbiguousError(f"etcd `{endpoint}` gives no answer: {text}", hint=hint)
