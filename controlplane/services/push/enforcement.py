"""Who enforces a generation since when; and for the rest, until when at the latest they may act on what they heard before.

An agent enforces it when it has signed a receipt for it, or for a later one that exists: a receipt for a generation that is
yet to come says nothing.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from controlplane.api.gen import admin_pb2
from controlplane.model import NodeRow
from controlplane.services.push.hub import AgentState, Receipt
from controlplane.services.push.publish import Publisher

TOGETHER_S = 0.005  # receipts of so long are looked at together: a thousand come at once
MARGIN_S = 0.2  # left of the caller's deadline to say who has not answered
LONGEST_S = 60.0  # for a caller without a deadline


async def follow(
    publisher: Publisher, nodes: Sequence[NodeRow], generation: int, remaining_s: float | None
) -> AsyncIterator[admin_pb2.Enforcement]:
    """A message per agent as its receipt comes; agents that are away, or silent at the deadline, with their bound."""
    hub, names = publisher.hub, {str(row.spiffe_id) for row in nodes}
    open_ = {name for name in names if name in hub.agents and hub.agents[name].connected}
    for spiffe_id in sorted(names - open_):
        yield _silent(publisher, spiffe_id, len(open_))
    loop = asyncio.get_running_loop()
    deadline = loop.time() + (LONGEST_S if remaining_s is None else remaining_s - MARGIN_S)
    seen, known = -1, 0
    while open_:
        count, exists = hub.count, publisher.issue.generation if publisher.issue else 0
        seen = seen if exists == known else -1  # what was said too early may count now
        news = open_ if seen < 0 else {one.spiffe_id for one in hub.changed_since(seen)}
        moved = sorted(open_ & news)
        for spiffe_id, receipt in _answered(publisher, moved, generation, exists):
            open_.discard(spiffe_id)
            yield admin_pb2.Enforcement(
                spiffe_id=spiffe_id,
                enforced=True,
                at_ms=receipt.at_ms,
                receipt=receipt.envelope,
                certificate=receipt.certificate,
                waiting=len(open_),
            )
        seen, known = count, exists
        if not open_:
            break
        try:
            async with asyncio.timeout_at(deadline):
                await hub.moved_after(seen)
                await asyncio.sleep(TOGETHER_S)
        except TimeoutError:
            break
    for spiffe_id in sorted(open_):
        yield _silent(publisher, spiffe_id, len(open_))
    yield admin_pb2.Enforcement(last=True, node_cas=publisher.anchors.node_cas)


def _answered(
    publisher: Publisher, open_: Iterable[str], generation: int, exists: int
) -> list[tuple[str, Receipt]]:
    found = []
    for spiffe_id in open_:
        receipts = publisher.hub.agents[spiffe_id].receipts
        earliest = min((g for g in receipts if generation <= g <= exists), default=None)
        if earliest is not None:
            found.append((spiffe_id, receipts[earliest]))
    return found


def _silent(publisher: Publisher, spiffe_id: str, waiting: int) -> admin_pb2.Enforcement:
    bound = _trust_until(publisher, publisher.hub.agents.get(spiffe_id))
    return admin_pb2.Enforcement(spiffe_id=spiffe_id, trust_until=bound, waiting=waiting)


def _trust_until(publisher: Publisher, state: AgentState | None) -> int:
    """The end of the newest lease that it can have heard of: later ones name the generation that it has not answered for.

    Never what it says of its lease itself: that was true when it said so, seconds ago, and it may have heard more since.
    """
    newest = publisher.issue.lease_until if publisher.issue else 0
    if state is None or state.connected or not state.away_since:
        return newest
    return min(newest, state.away_since + publisher.lease_s)
