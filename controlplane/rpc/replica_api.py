"""Replica: tells another control plane of our agents. Converts; what it says decides nothing that a receipt does not prove."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import grpc

from controlplane.api.gen import replica_pb2, replica_pb2_grpc
from controlplane.rpc.guard import ended
from controlplane.rpc.peer import Peers
from controlplane.services.push.hub import AgentState, Hub, Receipt

PAUSE_S = 0.02  # changes of so long travel together
CHUNK = 500  # agents in one message
Context = grpc.aio.ServicerContext


class ReplicaServicer(replica_pb2_grpc.ReplicaServicer):
    """One stream per other replica. It takes the newest state when it is ready: a slow one skips, and delays nobody."""

    def __init__(self, peers: Peers, hub: Hub) -> None:
        self._peers, self._hub = peers, hub

    async def Follow(
        self, request: replica_pb2.FollowRequest, context: Context
    ) -> AsyncIterator[replica_pb2.Agents]:
        del request
        try:
            told = 0
            yield replica_pb2.Agents()  # an empty one first: the link stands
            while True:
                self._peers.replica(context)
                count = self._hub.count
                changed = self._hub.ours_since(told)
                told = count
                for start in range(0, len(changed), CHUNK):
                    yield replica_pb2.Agents(agents=[report(one) for one in changed[start : start + CHUNK]])
                await self._hub.moved_after(count)
                await asyncio.sleep(PAUSE_S)
        except Exception as exc:  # noqa: BLE001 - the edge: everything ends as a status
            await ended(context, "/writ.v1.Replica/Follow", exc)


def report(state: AgentState) -> replica_pb2.AgentReport:
    newest = max(state.receipts, default=0)
    receipt = state.receipts.get(newest, Receipt(0, b""))
    return replica_pb2.AgentReport(
        spiffe_id=state.spiffe_id,
        agent_version=state.agent_version,
        envoy_version=state.envoy_version,
        connected=state.connected,
        generation=state.generation,
        policy_version=state.policy_version,
        staged_versions=sorted(state.staged),
        lease_until=state.lease_until,
        last_seen=state.last_seen,
        error=state.error,
        not_cut=state.not_cut,
        receipt_generation=newest,
        receipt_at_ms=receipt.at_ms,
        receipt=receipt.envelope,
        certificate=receipt.certificate,
        features=sorted(state.features),
    )


def states(message: replica_pb2.Agents, replica: str) -> Sequence[AgentState]:
    """What `replica` says of its agents."""
    return [
        AgentState(
            spiffe_id=one.spiffe_id,
            agent_version=one.agent_version,
            envoy_version=one.envoy_version,
            connected=one.connected,
            generation=one.generation,
            policy_version=one.policy_version,
            staged=frozenset(one.staged_versions),
            lease_until=one.lease_until,
            last_seen=one.last_seen,
            error=one.error,
            not_cut=list(one.not_cut),
            receipts=_receipts(one),
            features=frozenset(one.features),
            replica=replica,
        )
        for one in message.agents
    ]


def _receipts(one: replica_pb2.AgentReport) -> dict[int, Receipt]:
    if not one.receipt:
        return {}
    return {one.receipt_generation: Receipt(one.receipt_at_ms, one.receipt, one.certificate)}
