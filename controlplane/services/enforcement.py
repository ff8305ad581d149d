"""Who enforces a generation since when; and for the rest, until when at the latest their old knowledge lives."""

import asyncio
from collections.abc import AsyncIterator, Sequence

from controlplane.api.gen import admin_pb2
from controlplane.model import NodeRow
from controlplane.services.publish import Publisher

TOGETHER_S = 0.005  # receipts of so long are looked at together: a thousand come at once
MARGIN_S = 0.2  # left of the caller's deadline to say who has not answered


async def follow(
    publisher: Publisher, nodes: Sequence[NodeRow], generation: int, remaining_s: float | None
) -> AsyncIterator[admin_pb2.Enforcement]:
    """A message per agent as its receipt comes; agents that are away, or silent at the deadline, with their bound."""
    hub = publisher.hub
    open_ = {str(row.spiffe_id) for row in nodes}
    for spiffe_id in sorted(
        name for name in open_ if not (name in hub.agents and hub.agents[name].connected)
    ):
        open_.discard(spiffe_id)
        yield _silent(publisher, spiffe_id)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (remaining_s - MARGIN_S if remaining_s is not None else 60.0)
    seen = -1
    while open_:
        count = hub.count
        for spiffe_id in sorted(name for name in open_ if hub.agents[name].changed > seen):
            receipt = hub.agents[spiffe_id].receipts
            newest = max((g for g in receipt if g >= generation), default=None)
            if newest is not None:
                open_.discard(spiffe_id)
                at_ms, signed = receipt[newest]
                yield admin_pb2.Enforcement(spiffe_id=spiffe_id, enforced=True, at_ms=at_ms, receipt=signed)
        seen = count
        if not open_:
            break
        try:
            async with asyncio.timeout_at(deadline):
                async with hub.moved:
                    await hub.moved.wait_for(lambda: hub.count > seen)  # noqa: B023 - waits in this turn
                await asyncio.sleep(TOGETHER_S)
        except TimeoutError:
            break
    for spiffe_id in sorted(open_):
        yield _silent(publisher, spiffe_id)
    yield admin_pb2.Enforcement(last=True)


def _silent(publisher: Publisher, spiffe_id: str) -> admin_pb2.Enforcement:
    """An agent that has not answered acts on its last heartbeat until that lease ends: at most one lease from now on."""
    state = publisher.hub.agents.get(spiffe_id)
    known = state.lease_until if state else 0
    bound = known or (publisher.issue.lease_until if publisher.issue else 0)
    return admin_pb2.Enforcement(spiffe_id=spiffe_id, enforced=False, trust_until=bound)
