"""The channel to the control plane's Admin service: mTLS with the operator's certificate, errors as `CliError`.

Only the control-plane CA is believed, so that no node certificate, and no other CA below the root, can pose as the
server. This module imports grpc and is itself imported only by commands that talk to a control plane.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self, TypeVar

# TLS 1.3 only: no TLS 1.2 suite of this name fits an ECDSA certificate. Must be set before grpc reads it.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from controlplane.api.gen import admin_pb2_grpc, overview_pb2_grpc, revocation_pb2_grpc
from controlplane.cli.context import Context
from controlplane.cli.errors import CliError, Exit

T = TypeVar("T")
MAX_MESSAGE_BYTES = 64 << 20
REACH_S = 1.0  # before the next of several control planes is tried
EXITS: dict[grpc.StatusCode, Exit] = {
    grpc.StatusCode.INVALID_ARGUMENT: Exit.USAGE,
    grpc.StatusCode.PERMISSION_DENIED: Exit.DENIED,
    grpc.StatusCode.UNAUTHENTICATED: Exit.DENIED,
    grpc.StatusCode.NOT_FOUND: Exit.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Exit.CONFLICT,
    grpc.StatusCode.ABORTED: Exit.CONFLICT,
    grpc.StatusCode.FAILED_PRECONDITION: Exit.CONFLICT,
    grpc.StatusCode.UNAVAILABLE: Exit.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: Exit.UNREACHABLE,
}


class Client:
    """Calls Admin with one deadline per call. Close it, or use it as a context manager.

    Of several control planes the first that answers is used. A call that failed is not repeated at another: it may have
    been done.
    """

    def __init__(self, context: Context, *, timeout_s: float) -> None:
        self.context, self.timeout_s = context, timeout_s
        self._channel = self._reach(context)
        self.stub = admin_pb2_grpc.AdminStub(self._channel)
        self.revocation = revocation_pb2_grpc.RevocationStub(self._channel)
        self.overview = overview_pb2_grpc.OverviewStub(self._channel)

    @staticmethod
    def _reach(context: Context) -> grpc.Channel:
        credentials, options = _credentials(context), _options(context)
        *others, last = context.addresses
        for address in others:
            channel = grpc.secure_channel(address, credentials, options=options)
            try:
                grpc.channel_ready_future(channel).result(timeout=REACH_S)
            except grpc.FutureTimeoutError:
                channel.close()
            else:
                return channel
        return grpc.secure_channel(last, credentials, options=options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def call(self, method: Callable[..., T], request: object) -> T:
        """One unary call."""
        with translated(self.context):
            return method(request, timeout=self.timeout_s)

    def stream(self, method: Callable[..., Any], request: object, *, timeout_s: float) -> Iterator[Any]:
        with translated(self.context):
            yield from method(request, timeout=timeout_s)


def _options(context: Context) -> list[tuple[str, str | int]]:
    # The server's certificate names the role, not the host: an address may be anything that reaches it.
    return [
        ("grpc.ssl_target_name_override", f"control-plane.{context.trust_domain}"),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),
    ]


def _credentials(context: Context) -> grpc.ChannelCredentials:
    if context.token is not None:
        verified = grpc.ssl_channel_credentials(_file(context, context.ca))
        token = grpc.access_token_call_credentials(
            _file(context, context.token).decode("ascii", "replace").strip()
        )
        return grpc.composite_channel_credentials(verified, token)
    ca, key, certificate = (_file(context, path) for path in (context.ca, context.key, context.certificate))
    return grpc.ssl_channel_credentials(ca, key, certificate)


def _file(context: Context, path: Path | None) -> bytes:
    if path is None:
        raise RuntimeError("a context shows a certificate or a token")
    try:
        return path.read_bytes()
    except OSError as exc:
        hint = "writ login" if path == context.token else f"context `{context.name}` points at it"
        raise CliError(f"cannot read `{exc.filename}`: {exc.strerror}", code=Exit.USAGE, hint=hint) from exc


@contextmanager
def translated(context: Context) -> Iterator[None]:
    """Turn a gRPC error into what an operator can act on."""
    try:
        yield
    except grpc.RpcError as exc:
        code, said = exc.code(), _said(exc)
        if said is None and code in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}:
            raise CliError(
                f"control plane `{context.address}` cannot be reached: {exc.details()}",
                code=Exit.UNREACHABLE,
                hint="is it running, and is this operator certificate still valid?",
            ) from exc
        raise CliError(
            exc.details() or code.name, code=EXITS.get(code, Exit.FAILED), hint=said or ""
        ) from exc


def _said(exc: grpc.RpcError) -> str | None:
    """The control plane's own hint; None when the error is not its own: then it was not reached."""
    status = rpc_status.from_call(exc)  # type: ignore[arg-type]  # raised errors are calls too
    for detail in status.details if status else ():
        info = error_details_pb2.ErrorInfo()
        if detail.Unpack(info):
            return str(info.metadata.get("hint", ""))
    return None
