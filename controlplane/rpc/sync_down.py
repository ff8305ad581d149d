"""What one session of Sync sends: only what differs from what it has sent, newest state first. It never queues.

What goes to everybody is made once, and is the same bytes for all. The caller is checked before everything it is sent, so
that a revoked node's stream ends, and one whose certificate has ended: it comes back with another, or not at all.
"""

import time
from dataclasses import dataclass, field
from functools import lru_cache

import grpc

from certs.verify import NodeIdentity
from controlplane.api.gen import sync_pb2
from controlplane.services.push.hub import AgentState, Wake
from controlplane.services.push.issued import Issue
from controlplane.services.push.publish import Publisher
from policies import documents as d

Context = grpc.aio.ServicerContext


@dataclass(slots=True)
class Sent:
    """What this session has sent, or its agent says that it holds. Owned by its writer."""

    trust: str = ""
    heartbeat: bytes = b""
    tickets: tuple[bytes, ...] = ()
    blobs: set[str] = field(default_factory=set)
    delegation: bytes = b""
    root_changes: tuple[bytes, ...] = ()
    workloads: bytes = b""
    renew_serial: str = ""
    tainted: tuple[bytes, ...] = ()


class Down:
    """Writes to one stream until its caller may not be told more."""

    def __init__(
        self,
        publisher: Publisher,
        caller: NodeIdentity,
        context: Context,
        state: AgentState,
        sent: Sent,
        reissue_within_s: int,
    ) -> None:
        self._publisher, self._caller, self._context = publisher, caller, context
        self._state, self._sent, self._reissue_within_s = state, sent, reissue_within_s

    async def run(self, wake: Wake) -> None:
        """Until the caller may not go on; the store is asked once more, and says why."""
        sent = self._sent
        wake.set()
        while True:
            own = await wake.wait()
            if not self._may_go_on():
                return
            issue = self._publisher.issue
            if issue is None:
                wake.own = own  # not looked at yet
                continue
            # A new generation goes first and alone: it may be a revocation, and a bundle may be large.
            if issue.trust_digest != sent.trust or issue.heartbeat != sent.heartbeat:
                first = self._first()
                await self._context.write(_news(issue, issue.trust_digest != sent.trust, *first))
                sent.trust, sent.heartbeat = issue.trust_digest, issue.heartbeat
                own = own or bool(first[0]) or self._publisher.anchors.tainted != sent.tainted
            if own:
                await self._own()

    def _may_go_on(self) -> bool:
        told, caller = self._publisher, self._caller
        return not has_ended(caller) and told.may_go_on(self._state.spiffe_id, caller.epoch)

    async def _own(self) -> None:
        """What is for this node alone."""
        state, sent = self._state, self._sent
        mine = self._publisher.nodes.get(state.spiffe_id)
        if state.renew_serial != sent.renew_serial:
            sent.renew_serial = state.renew_serial
            await self._say(sync_pb2.SyncResponse(renew_serial=sent.renew_serial))
        if self._publisher.anchors.tainted != sent.tainted:
            sent.tainted = self._publisher.anchors.tainted
            await self._context.write(_reissue(sent.tainted, self._reissue_within_s))
        workloads = self._publisher.workloads.of(state.spiffe_id)
        if workloads != sent.workloads:
            sent.workloads = workloads
            await self._say(sync_pb2.SyncResponse(workloads=workloads))
        if mine is None:
            return
        # Last, and to those that know what it is: whoever does not would refuse it.
        shadow = (mine.shadow,) if mine.shadow and d.SHADOW in state.features else ()
        tickets = mine.tickets + shadow
        if tickets == sent.tickets:
            return
        blobs = [blob for digest, blob in mine.blobs.items() if digest not in sent.blobs]
        await self._say(sync_pb2.SyncResponse(tickets=tickets, blobs=blobs))
        sent.tickets, sent.blobs = tickets, set(mine.blobs)

    def _first(self) -> tuple[bytes, tuple[bytes, ...]]:
        """Delegation and changes of the root, once per stream and when they changed: what follows may be signed by what they add."""
        sent, anchors = self._sent, self._publisher.anchors
        newest, changes = anchors.delegation, anchors.root_changes
        if (newest, changes) == (sent.delegation, sent.root_changes):
            return b"", ()
        # With a key that is dropped an agent drops what it was told of workloads: it is told again.
        sent.delegation, sent.root_changes, sent.workloads = newest, changes, b""
        return newest, changes

    async def _say(self, message: sync_pb2.SyncResponse) -> None:
        await self._context.write(message.SerializeToString())


def has_ended(caller: NodeIdentity) -> bool:
    """Its certificate: no refusal, it comes back with another."""
    return time.time() >= caller.not_after


@lru_cache(maxsize=8)
def _news(issue: Issue, with_trust: bool, delegation: bytes, changes: tuple[bytes, ...]) -> bytes:
    """Trust and heartbeat as they go to everybody: made once per state, not once per agent."""
    return sync_pb2.SyncResponse(
        heartbeat=issue.heartbeat,
        trust_document=issue.trust if with_trust else b"",
        delegation=delegation,
        root_changes=changes,
        spread_ms=issue.spread_ms,
        receipts_along=True,
    ).SerializeToString()


@lru_cache(maxsize=8)
def _reissue(cas: tuple[bytes, ...], within_s: int) -> bytes:
    return sync_pb2.SyncResponse(reissue=sync_pb2.Reissue(cas=cas, within_s=within_s)).SerializeToString()
