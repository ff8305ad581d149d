"""Bind and serve: two or three ports, TLS everywhere, bounds on everything a stranger can send.

8443 wants a client certificate of a node or operator; 8444 wants none and serves Enrolment only; 8445, where an issuer of
operators is configured, wants none and serves no call without one of its tokens. The chain of 8444 ends with
the root, so that a newcomer can hold the root against the hash in its token before it believes anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc

from controlplane.rpc.guard import Guard
from controlplane.services.identity.admission import Admission

MAX_MESSAGE_BYTES = 4 << 20  # policies, resources; everything else is far smaller
MAX_ENROLMENT_BYTES = 32 << 10
MAX_METADATA_BYTES = 16 << 10
OPTIONS: list[tuple[str, int]] = [
    ("grpc.so_reuseport", 0),  # two processes must not share a port by accident
    ("grpc.server_handshake_timeout_ms", 5000),  # half a handshake holds a socket for 120 s by default
    # Agents connect anew when they renew, twice an hour; streams end with the certificate that opened them (`sync_api`).
    ("grpc.max_connection_age_ms", 3_600_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    (
        "grpc.max_connection_idle_ms",
        120_000,
    ),  # an agent has its stream; whoever has none does not keep a socket
    ("grpc.max_concurrent_streams", 64),
    ("grpc.max_metadata_size", 8192),
    ("grpc.http2.min_ping_interval_without_data_ms", 5000),
    ("grpc.http2.max_ping_strikes", 2),
    # A ping for every message that arrives, to grow windows that our messages do not fill.
    ("grpc.http2.bdp_probe", 0),
    # Each agent is written to every heartbeat: what is not acknowledged in this time ends the connection, without a ping.
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_time_ms", 60_000),  # for those that are written nothing
    # 10,000 agents at once stall at about a third until both are raised together.
    ("grpc.server.max_pending_requests", 20_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM: a control plane's key and chain, whom to accept as clients, whom to believe as another replica, and the roots."""

    key: bytes
    chain: bytes
    client_cas: bytes
    control_plane_cas: bytes
    roots: bytes = b""


def api_server(admission: Admission, administration: grpc.aio.ServerInterceptor) -> grpc.aio.Server:
    """The server behind mTLS. `admission` bounds what nodes ask; `administration` stands before every call of an operator."""
    options = [*OPTIONS, *_sizes(MAX_MESSAGE_BYTES)]
    return grpc.aio.server(interceptors=[Guard(admission), administration], options=options)


def bearer_server(administration: grpc.aio.ServerInterceptor) -> grpc.aio.Server:
    """For operators who show a token: no client certificate, Admin and Overview alone. Metadata has room for the token."""
    options = [one for one in OPTIONS if one[0] != "grpc.max_metadata_size"]
    options += [("grpc.max_metadata_size", MAX_METADATA_BYTES), *_sizes(MAX_MESSAGE_BYTES)]
    return grpc.aio.server(
        interceptors=[Guard(), administration], options=options, maximum_concurrent_rpcs=256
    )


def enrolment_server() -> grpc.aio.Server:
    return grpc.aio.server(
        interceptors=[Guard()], options=[*OPTIONS, *_sizes(MAX_ENROLMENT_BYTES)], maximum_concurrent_rpcs=256
    )


class Handlers:
    """Where generated code registers its servicers, without registering each method with the library's core.

    With registered methods grpc.aio keeps a task for each, and waits for all of them anew at every call: with 42 methods
    that was a tenth of what a renewal cost.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, *_: object) -> None:
        """Not needed: what is not registered is found among the generic handlers."""


def mutual(tls: Callable[[], Tls]) -> grpc.ServerCredentials:
    newest = _Newest(
        tls, lambda now: grpc.ssl_server_certificate_configuration([(now.key, now.chain)], now.client_cas)
    )
    first = newest.first()
    return grpc.dynamic_ssl_server_credentials(first, newest, require_client_authentication=True)  # type: ignore[arg-type]  # None is the library's word for unchanged


def anonymous(tls: Callable[[], Tls], *, newcomers: bool = False) -> grpc.ServerCredentials:
    """For `newcomers` the chain ends with the roots."""
    newest = _Newest(
        tls,
        lambda now: grpc.ssl_server_certificate_configuration(
            [(now.key, now.chain + (now.roots if newcomers else b""))]
        ),
    )
    first = newest.first()
    return grpc.dynamic_ssl_server_credentials(first, newest, require_client_authentication=False)  # type: ignore[arg-type]  # as above


class _Newest:
    """Asked at every handshake; answers only when something changed.

    What is answered replaces the server's TLS state under every handshake that is under way: with an answer each time, of
    64 agents that came at once 61 were turned away.
    """

    def __init__(
        self, tls: Callable[[], Tls], make: Callable[[Tls], grpc.ServerCertificateConfiguration]
    ) -> None:
        self._tls, self._make = tls, make
        self._last: Tls | None = None

    def first(self) -> grpc.ServerCertificateConfiguration:
        self._last = self._tls()
        return self._make(self._last)

    def __call__(self) -> grpc.ServerCertificateConfiguration | None:
        now = self._tls()
        if now == self._last:
            return None
        self._last = now
        return self._make(now)


def bind(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> int:
    """The port that was bound; RuntimeError of gRPC's when it cannot be."""
    return int(server.add_secure_port(address, credentials))


def _sizes(limit: int) -> Sequence[tuple[str, int]]:
    return [("grpc.max_receive_message_length", limit), ("grpc.max_send_message_length", -1)]
