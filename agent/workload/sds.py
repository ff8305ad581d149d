"""Envoy's Secret Discovery Service for Envoys that are not ours: they take certificate and trust from the same socket.

Names, as is usual: `default` or a SPIFFE ID is a certificate of the caller; `ROOTCA` is our roots, the SPIFFE ID of a trust
domain its own, ours or one that the caller federates with; `ALL` is a validator that chooses roots by the trust domain of the
peer. Who the peer must be is the Envoy's to say.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from functools import partial

import grpc
import structlog
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import (
    SPIFFECertValidatorConfig,
)
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse

from agent import identity
from agent.envoy import pb
from agent.envoy.ads import SECRET
from agent.workload import entitled
from agent.workload.api import Callers, selectors_of
from agent.workload.board import Board
from agent.workload.entitled import Svid, World
from agent.workload.errors import BadCallError, NotEntitledError
from certs import keys

log = structlog.get_logger()
SERVICE = "envoy.service.secret.v3.SecretDiscoveryService"
DEFAULT, ROOTS, ALL = "default", "ROOTCA", "ALL"
MAX_NAMES = 64
Context = grpc.aio.ServicerContext


class SecretService:
    """State of the world; a response is sent when what was asked for has changed, or is other than before."""

    def __init__(self, callers: Callers, board: Board) -> None:
        self._callers, self._board = callers, board

    def handler(self) -> grpc.GenericRpcHandler:
        messages = {
            "request_deserializer": DiscoveryRequest.FromString,
            "response_serializer": DiscoveryResponse.SerializeToString,
        }
        handlers = {
            "StreamSecrets": grpc.stream_stream_rpc_method_handler(self.stream, **messages),
            "FetchSecrets": grpc.unary_unary_rpc_method_handler(self.fetch, **messages),
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    async def fetch(self, request: DiscoveryRequest, context: Context) -> DiscoveryResponse:
        selectors = selectors_of(self._callers, context)
        names = _names(request)
        return await self._board.ready(lambda world: response(world, selectors, names))

    async def stream(
        self, requests: AsyncIterator[DiscoveryRequest], context: Context
    ) -> AsyncIterator[DiscoveryResponse]:
        selectors = selectors_of(self._callers, context)
        asked = _Asked()
        reader = asyncio.ensure_future(asked.read(requests))
        sent = ""
        try:
            while not reader.done():
                asked.changed.clear()
                moved, names = self._board.moved, asked.names
                if names:
                    made = await self._board.ready(partial(response, selectors=selectors, names=names))
                    if made.version_info != sent:
                        sent = made.version_info
                        yield made
                await _any(moved.wait(), asked.changed.wait(), reader)
            reader.result()
        finally:
            reader.cancel()


async def _any(*waited: Awaitable[object]) -> None:
    """Until one of these is there."""
    tasks = [asyncio.ensure_future(one) for one in waited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task, one in zip(tasks, waited, strict=True):
            if task is not one:  # a task of somebody else goes on
                task.cancel()


class _Asked:
    """What an Envoy wants now. Owned by its stream."""

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self.changed = asyncio.Event()

    async def read(self, requests: AsyncIterator[DiscoveryRequest]) -> None:
        async for request in requests:
            if request.HasField("error_detail"):
                log.warning("sds_refused", reason=request.error_detail.message[:500])
            self.names = _names(request)
            self.changed.set()


def response(world: World, selectors: frozenset[str], names: tuple[str, ...]) -> DiscoveryResponse:
    """These secrets, all of them; NotEntitledError names the one that the caller has not."""
    svids = entitled.svids(world, selectors)
    ours = entitled.bundle(world, selectors)
    roots = {one.spiffe_id: one.roots for one in entitled.bundles(world, selectors).values() if one.roots}
    by_name = {svid.spiffe_id: svid for _, svid in svids} | {DEFAULT: svids[0][1]}
    secrets = []
    for name in names:
        if name in by_name:
            secrets.append(_certificate(name, by_name[name]))
        elif name == ROOTS or name in roots:
            secrets.append(Secret(name=name, validation_context=_trusted(roots.get(name, ours.roots))))
        elif name == ALL:
            secrets.append(Secret(name=name, validation_context=_by_trust_domain(roots)))
        else:
            raise NotEntitledError(f"no secret `{name[:256]}` for this caller")
    packed = [pb.packed(secret) for secret in secrets]
    version = hashlib.sha256(
        b"".join(one.SerializeToString(deterministic=True) for one in packed)
    ).hexdigest()[:16]
    return DiscoveryResponse(version_info=version, resources=packed, type_url=SECRET, nonce=version)


def _names(request: DiscoveryRequest) -> tuple[str, ...]:
    names = tuple(sorted(set(request.resource_names))) or (ALL, DEFAULT, ROOTS)
    if len(names) > MAX_NAMES or (request.type_url and request.type_url != SECRET):
        raise BadCallError(f"only secrets, and at most {MAX_NAMES} of them")
    return names


def _certificate(name: str, svid: Svid) -> Secret:
    certificate = TlsCertificate(
        certificate_chain=DataSource(inline_bytes=identity.pem(*svid.shown)),
        private_key=DataSource(inline_bytes=keys.dump_private(svid.key, None)),
    )
    return Secret(name=name, tls_certificate=certificate)


def _trusted(roots: Sequence[bytes]) -> CertificateValidationContext:
    return CertificateValidationContext(trusted_ca=DataSource(inline_bytes=identity.pem(*roots)))


def _by_trust_domain(roots: Mapping[str, Sequence[bytes]]) -> CertificateValidationContext:
    """Each trust domain with its own roots: Envoy takes those of the peer's."""
    domains = [
        SPIFFECertValidatorConfig.TrustDomain(
            name=spiffe_id.removeprefix("spiffe://"), trust_bundle=DataSource(inline_bytes=identity.pem(*of))
        )
        for spiffe_id, of in sorted(roots.items())
    ]
    validator = TypedExtensionConfig(
        name="envoy.tls.cert_validator.spiffe",
        typed_config=pb.packed(SPIFFECertValidatorConfig(trust_domains=domains)),
    )
    return CertificateValidationContext(custom_validator_config=validator)
