"""Revocation: operators end nodes, or keep them apart. Converts, calls a service, converts; each act leaves a log line."""

import time
from dataclasses import dataclass

import grpc
import structlog

from controlplane import model
from controlplane.api.gen import revocation_pb2, revocation_pb2_grpc
from controlplane.model import NodeRow
from controlplane.rpc.caller import calling
from controlplane.services.authority.crls import Crls
from controlplane.services.identity.nodes import Changed, Nodes
from controlplane.services.identity.revocation import Hit, Revocation, Selector
from controlplane.services.push.hub import Hub

log = structlog.get_logger()
Context = grpc.aio.ServicerContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """All that this part can reach."""

    nodes: Nodes
    revocation: Revocation
    crls: Crls
    hub: Hub


class RevocationServicer(revocation_pb2_grpc.RevocationServicer):
    """One method per line of `revocation.proto`."""

    def __init__(self, reach: Reach) -> None:
        self._r = reach

    def _operator(self, context: Context, act: str, **facts: object) -> None:
        del context
        log.info("admin", act=act, operator=calling().name, **facts)

    async def Revoke(
        self, request: revocation_pb2.RevokeRequest, context: Context
    ) -> revocation_pb2.RevokeResponse:
        selector = _selector(request.selector)
        self._operator(context, "revoke", selector=str(selector), reason=request.reason, dry=request.dry_run)
        if request.dry_run:
            found = await self._r.revocation.select(selector)
            return revocation_pb2.RevokeResponse(nodes=[_node(row) for row in found])
        revoked_at_ms = int(time.time() * 1000)
        hits = await self._r.revocation.revoke(selector, request.reason)
        for hit in hits:
            if hit.generation:
                self._r.hub.drop(str(hit.node.spiffe_id))
        return revocation_pb2.RevokeResponse(
            nodes=[_hit(hit) for hit in hits],
            generation=max((hit.generation for hit in hits), default=0),
            revoked_at_ms=revoked_at_ms,
        )

    async def Quarantine(
        self, request: revocation_pb2.QuarantineRequest, context: Context
    ) -> revocation_pb2.StateResponse:
        name = f"{request.node}.{request.site}"
        self._operator(context, "quarantine", node=name, reason=request.reason)
        at_ms = int(time.time() * 1000)
        return _state(await self._r.nodes.quarantine(request.node, request.site, request.reason), at_ms)

    async def Release(
        self, request: revocation_pb2.NodeName, context: Context
    ) -> revocation_pb2.StateResponse:
        self._operator(context, "release", node=f"{request.node}.{request.site}")
        at_ms = int(time.time() * 1000)
        made = await self._r.nodes.release(request.node, request.site)
        self._r.hub.ask_to_renew(str(made.after[0].spiffe_id), made.after[0].renew_serial)
        return _state(made, at_ms)

    async def Unlock(
        self, request: revocation_pb2.NodeName, context: Context
    ) -> revocation_pb2.StateResponse:
        self._operator(context, "unlock", node=f"{request.node}.{request.site}")
        at_ms = int(time.time() * 1000)
        made = await self._r.nodes.unrevoke(request.node, request.site, of=frozenset({model.LOCKED}))
        return _state(made, at_ms)

    async def GetCrls(
        self, request: revocation_pb2.GetCrlsRequest, context: Context
    ) -> revocation_pb2.GetCrlsResponse:
        del request
        del context
        return revocation_pb2.GetCrlsResponse(crls=[one.der for one in await self._r.crls.newest()])


def _selector(message: revocation_pb2.NodeSelector) -> Selector:
    return Selector(
        names=tuple(message.nodes),
        site=message.site,
        labels=dict(message.labels),
        attributes=tuple(message.attributes),
        key=message.key,
        serial=message.serial,
        authority=message.authority,
    )


def _hit(hit: Hit) -> revocation_pb2.RevokedNode:
    message = _node(hit.node)
    message.generation, message.error = hit.generation, hit.error
    return message


def _state(made: Changed, at_ms: int) -> revocation_pb2.StateResponse:
    node = _node(made.after[0])
    node.generation = made.generation
    return revocation_pb2.StateResponse(node=node, generation=made.generation, at_ms=at_ms)


def _node(row: NodeRow) -> revocation_pb2.RevokedNode:
    return revocation_pb2.RevokedNode(
        node=row.short,
        spiffe_id=str(row.spiffe_id),
        state=row.state,
        epoch=row.epoch,
        not_after=row.not_after,
    )
