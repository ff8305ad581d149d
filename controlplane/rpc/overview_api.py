"""Overview: for operators. Converts what `services.overview` counted; the answer is small however large the mesh is."""

import time
from collections.abc import Sequence
from importlib import metadata

import grpc

from controlplane.api.gen import overview_pb2, overview_pb2_grpc
from controlplane.config import Config
from controlplane.rpc.caller import calling
from controlplane.services.authority.authorities import Authorities
from controlplane.services.overview import NodeView, Overview, Overviews
from controlplane.services.pulse import Pulse
from controlplane.store.base import Health

VERSION = metadata.version("writ-mesh")
DEFAULT_LIMIT, MAX_LIMIT = 50, 1000
MAX_TROUBLES = 4
Context = grpc.aio.ServicerContext


class OverviewServicer(overview_pb2_grpc.OverviewServicer):
    """One method."""

    def __init__(self, overviews: Overviews, pulse: Pulse, config: Config, made: Authorities) -> None:
        self._overviews, self._pulse, self._config = overviews, pulse, config
        self._made = made

    async def GetOverview(
        self, request: overview_pb2.GetOverviewRequest, context: Context
    ) -> overview_pb2.MeshOverview:
        del context
        calling()
        limit = min(request.limit or DEFAULT_LIMIT, MAX_LIMIT)
        now = time.time()
        seen = await self._overviews.look(int(now))
        message = _counts(seen)
        message.trust_domain, message.root_sha256 = self._made.trust_domain, self._made.root_sha256
        message.version, message.now_ms = VERSION, int(now * 1000)
        message.svid_lifetime_s, message.lease_s = self._config.svid_lifetime_s, self._config.lease_s
        message.attention.extend(map(_node, seen.attention[:limit]))
        message.listed.extend(map(_node, seen.nodes if len(seen.nodes) <= limit else ()))
        for end in self._overviews.authorities():
            message.authorities.add(kind=end.kind, not_before=end.not_before, not_after=end.not_after)
        for name, connected in self._overviews.replicas(self._config.replica).items():
            message.replicas.add(name=name, connected=connected)
        if self._pulse.last is not None:
            message.store.CopyFrom(_store(self._pulse.last))
        return message


def _counts(seen: Overview) -> overview_pb2.MeshOverview:
    message = overview_pb2.MeshOverview(
        generation=seen.wanted.generation,
        policy_min=seen.wanted.policy_min,
        policy_now=seen.wanted.policy_now,
        nodes=len(seen.nodes),
        by_state=seen.by_state,
        connected=seen.connected,
        enforcing=seen.enforcing,
        attention_total=len(seen.attention),
        troubles=seen.troubles,
    )
    for bound, count in seen.expiry.items():
        message.certificates.add(up_to_s=bound, count=count)
    return message


def _store(health: Health) -> overview_pb2.Store:
    message = overview_pb2.Store(kind=health.kind, room=health.room)
    for one in health.members:
        message.members.add(
            name=one.name, up=one.up, leads=one.leads, version=one.version, size=one.size, errors=one.errors
        )
    return message


def _node(view: NodeView) -> overview_pb2.NodeView:
    row, agent = view.row, view.agent
    message = overview_pb2.NodeView(
        node=row.short,
        jurisdiction=row.jurisdiction,
        state=row.state,
        connected=agent is not None,
        not_after=row.not_after,
        troubles=_troubles(view),
    )
    if agent is not None:
        message.generation, message.policy_version = agent.generation, agent.policy_version
        message.policy_received = max((agent.policy_version, *agent.staged))
        message.lease_until, message.gaps = agent.lease_until, agent.gaps
    return message


def _troubles(view: NodeView) -> Sequence[overview_pb2.Trouble]:
    return [overview_pb2.Trouble(kind=t.kind, text=t.text) for t in view.troubles[:MAX_TROUBLES]]
