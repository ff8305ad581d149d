"""The SPIFFE Workload API: who calls comes from the relay, what they get from `entitled`; here it becomes messages."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Protocol, TypeVar

import grpc
from cryptography.hazmat.primitives import serialization
from google.protobuf import json_format, struct_pb2

from agent.workload import entitled, tokens
from agent.workload.board import Board
from agent.workload.entitled import Svid, World
from agent.workload.errors import BadCallError, NotEntitledError
from agent.workload.peer import Caller
from agent.workload.tokens import Tokens
from certs import bundle
from controlplane.api.gen import workload_pb2, workload_pb2_grpc

Context = grpc.aio.ServicerContext
Selectors = frozenset[str]
T = TypeVar("T")


class Callers(Protocol):
    """Who is behind a call."""

    def caller(self, peer_name: str) -> Caller | None: ...


def selectors_of(callers: Callers, context: Context) -> frozenset[str]:
    """What the kernel says of the caller, at every call."""
    found = callers.caller(context.peer())
    if found is None:
        raise NotEntitledError("workload attestation failed: the process that connected has ended")
    return found.selectors


class WorkloadServicer(workload_pb2_grpc.SpiffeWorkloadAPIServicer):
    """One method per line of the standard; what it names beyond these is answered Unimplemented by gRPC."""

    def __init__(
        self,
        callers: Callers,
        board: Board,
        made: Tokens,
        floors: Callable[[], Mapping[str, int | None]],
    ) -> None:
        self._callers, self._board, self._tokens, self._floors = callers, board, made, floors

    async def FetchX509SVID(
        self, request: workload_pb2.X509SVIDRequest, context: Context
    ) -> AsyncIterator[workload_pb2.X509SVIDResponse]:
        del request
        async for response in self._follow(context, entitled.svids, x509_svids):
            yield response

    async def FetchX509Bundles(
        self, request: workload_pb2.X509BundlesRequest, context: Context
    ) -> AsyncIterator[workload_pb2.X509BundlesResponse]:
        del request
        async for response in self._follow(context, entitled.bundle, x509_bundles):
            yield response

    async def FetchJWTSVID(
        self, request: workload_pb2.JWTSVIDRequest, context: Context
    ) -> workload_pb2.JWTSVIDResponse:
        selectors = selectors_of(self._callers, context)
        asked = tokens.audiences(request.audience)
        found = await self._board.ready(lambda world: entitled.svids(world, selectors))
        chosen = [
            (workload, svid)
            for workload, svid in found
            if not request.spiffe_id or svid.spiffe_id == request.spiffe_id
        ]
        if not chosen:
            raise NotEntitledError(f"no identity `{request.spiffe_id[:256]}` for this caller")
        response = workload_pb2.JWTSVIDResponse()
        for workload, svid in chosen:
            token = await self._tokens.get(workload.name, svid.epoch, asked)
            response.svids.add(spiffe_id=svid.spiffe_id, svid=token, hint=workload.hint)
        entitled.entitled(self._board.world, selectors)  # revoked while it was minted
        return response

    async def FetchJWTBundles(
        self, request: workload_pb2.JWTBundlesRequest, context: Context
    ) -> AsyncIterator[workload_pb2.JWTBundlesResponse]:
        del request
        async for response in self._follow(context, entitled.bundle, jwt_bundles):
            yield response

    async def ValidateJWTSVID(
        self, request: workload_pb2.ValidateJWTSVIDRequest, context: Context
    ) -> workload_pb2.ValidateJWTSVIDResponse:
        selectors = selectors_of(self._callers, context)
        if not request.audience or not request.svid:
            raise BadCallError("audience and svid must be given")
        believed = await self._board.ready(lambda world: entitled.bundles(world, selectors))
        ours = entitled.bundle(self._board.world, selectors).trust_domain
        found = tokens.validate(
            request.svid, request.audience, believed, ours=ours, floors=self._floors(), now=int(time.time())
        )
        claims = json_format.ParseDict(dict(found.claims), struct_pb2.Struct())
        return workload_pb2.ValidateJWTSVIDResponse(spiffe_id=str(found.spiffe_id), claims=claims)

    async def _follow(
        self,
        context: Context,
        needed: Callable[[World, Selectors], object],
        shown: Callable[[World, Selectors], T],
    ) -> AsyncIterator[T]:
        """What is `shown` to the caller, again whenever it is otherwise; not before he is entitled to what is `needed`."""
        selectors = selectors_of(self._callers, context)
        await self._board.ready(lambda world: needed(world, selectors))
        async for response in self._board.follow(lambda world: shown(world, selectors)):
            yield response


def x509_svids(world: World, selectors: frozenset[str]) -> workload_pb2.X509SVIDResponse:
    """The whole state for one caller."""
    ours = entitled.bundle(world, selectors)
    response = workload_pb2.X509SVIDResponse()
    for workload, svid in entitled.svids(world, selectors):
        response.svids.add(
            spiffe_id=svid.spiffe_id,
            x509_svid=b"".join(svid.shown),
            x509_svid_key=key_der(svid),
            bundle=b"".join(ours.roots),
            hint=workload.hint,
        )
    found = _roots(world, selectors)
    response.federated_bundles.update(
        {name: roots for name, roots in found.items() if name != ours.spiffe_id}
    )
    return response


def x509_bundles(world: World, selectors: frozenset[str]) -> workload_pb2.X509BundlesResponse:
    return workload_pb2.X509BundlesResponse(bundles=_roots(world, selectors))


def jwt_bundles(world: World, selectors: frozenset[str]) -> workload_pb2.JWTBundlesResponse:
    found = entitled.bundles(world, selectors).values()
    return workload_pb2.JWTBundlesResponse(bundles={one.spiffe_id: bundle.dump_jwks(one) for one in found})


def _roots(world: World, selectors: frozenset[str]) -> dict[str, bytes]:
    """By SPIFFE ID of the trust domain. One without roots is left out: to clients an empty value says nothing."""
    found = entitled.bundles(world, selectors).values()
    return {one.spiffe_id: b"".join(one.roots) for one in found if one.roots}


def key_der(svid: Svid) -> bytes:
    """PKCS#8, not encrypted: as the standard wants it, over the socket of the one process that may have it."""
    return svid.key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
