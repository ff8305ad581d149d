"""Who is woken, for what, and when; and what is made again for whom."""

import asyncio
import dataclasses

import pytest

from controlplane.model import NodeRow
from controlplane.services.push import hub as hubs
from controlplane.services.push.hub import AgentState, Hub, keep_receipt
from controlplane.services.push.issued import NodeIssue
from controlplane.services.push.unchanged import Unchanged

ROW = NodeRow(trust_domain="acme.example", node="n", site="paris", jurisdiction="FR")


def attached(hub: Hub, count: int) -> list:
    return [hub.attach(f"n{number}", lambda: None)[1] for number in range(count)]


async def quiet(wake) -> bool:
    """Is there nothing for this session?"""
    waiting = asyncio.ensure_future(wake.wait())
    await asyncio.sleep(0)
    done = waiting.done()
    waiting.cancel()
    return not done


async def test_a_session_looks_for_its_own_news_only_when_there_are_some() -> None:
    hub = Hub()
    (wake,) = attached(hub, 1)
    hub.wake_all()
    assert await wake.wait()  # the first time it looks at everything
    hub.wake_all()
    assert not await wake.wait()
    hub.wake("n0")
    hub.wake_all()
    assert await wake.wait()
    hub.wake_all()
    hub.wake("n0")
    assert await wake.wait()
    assert await quiet(wake)


async def test_many_news_wake_a_session_once() -> None:
    hub = Hub()
    (wake,) = attached(hub, 1)
    for _ in range(1000):
        hub.wake_all()
    await wake.wait()
    assert await quiet(wake)


async def test_heartbeats_go_in_turns_and_reach_everybody(monkeypatch) -> None:
    monkeypatch.setattr(hubs, "TURN", 2)
    hub = Hub()
    wakes = attached(hub, 10)
    going = asyncio.ensure_future(hub.wake_in_turn(hubs.TURNS_S * 5))
    await wakes[0].wait()
    assert await quiet(wakes[-1])
    await asyncio.gather(*(wake.wait() for wake in wakes[1:]))
    await going


async def test_a_generation_waits_for_no_turn(monkeypatch) -> None:
    monkeypatch.setattr(hubs, "TURN", 2)
    hub = Hub()
    wakes = attached(hub, 10)
    going = asyncio.ensure_future(hub.wake_in_turn(3600))
    await wakes[0].wait()
    hub.wake_all()
    await asyncio.gather(*(wake.wait() for wake in wakes))
    assert not going.done()
    going.cancel()


async def test_whoever_waits_is_told_of_what_changed_since_and_of_nothing_twice() -> None:
    hub = Hub()
    attached(hub, 3)
    waiting = [asyncio.ensure_future(hub.moved_after(count)) for count in (0, 0, 1)]
    await asyncio.sleep(0)
    hub.agent_moved(hub.agents["n0"])
    await asyncio.gather(*waiting[:2])
    assert not waiting[2].done()
    hub.agent_moved(hub.agents["n1"], hub.agents["n0"])
    await waiting[2]
    await hub.moved_after(2)  # it has, meanwhile
    assert [one.spiffe_id for one in hub.changed_since(0)] == ["n0", "n1"]
    assert [one.spiffe_id for one in hub.changed_since(2)] == ["n0"]
    assert hub.changed_since(hub.count) == []


def test_agents_of_other_replicas_are_not_told_on() -> None:
    hub = Hub()
    attached(hub, 1)
    hub.agent_moved(hub.agents["n0"], AgentState("elsewhere", replica="two"))
    assert [one.spiffe_id for one in hub.ours_since(0)] == ["n0"]


def test_a_later_session_of_a_node_takes_the_place_of_the_one_before() -> None:
    hub, ended = Hub(), []
    _, first = hub.attach("n", lambda: ended.append("first"))
    _, second = hub.attach("n", lambda: ended.append("second"))
    assert (ended, hub.serves("n", first), hub.serves("n", second)) == (["first"], False, True)
    hub.detach("n", first)  # it ends late, and takes nothing with it
    assert (hub.serves("n", second), hub.agents["n"].connected) == (True, True)


def test_agents_are_to_come_back_over_as_long_as_they_take_and_a_minute_at_most() -> None:
    hub = Hub()
    assert hub.spread_ms == 0
    attached(hub, 4)
    assert hub.spread_ms == 4 * hubs.COMING_MS
    attached(hub, 30_000)
    assert hub.spread_ms == hubs.MAX_SPREAD_MS


def test_the_receipts_of_the_last_generations_are_kept() -> None:
    state = AgentState("n")
    for generation in range(100):
        keep_receipt(state, generation, generation, b"signed")
    assert list(state.receipts) == list(range(100 - hubs.MAX_RECEIPTS, 100))


# --- what is made again ------------------------------------------------------------------------------------------


def issue(text: str) -> NodeIssue:
    return NodeIssue(tickets=(text.encode(),), blobs={})


def made(kept: Unchanged, alive, shared, text: str) -> list[str]:
    due = kept.due(alive, shared)
    for row in due:
        kept.keep(row, issue(f"{text} {row.node}"))
    kept.issues()
    return [row.node for row in due]


def test_one_row_that_changed_is_made_again_and_no_other() -> None:
    kept, alive = Unchanged(), [dataclasses.replace(ROW, node=f"n{number}") for number in range(3)]
    assert made(kept, alive, "policy 1", "first") == ["n0", "n1", "n2"]
    assert made(kept, alive, "policy 1", "same") == []
    alive[1] = dataclasses.replace(alive[1], address="10.0.0.1:7443")
    assert made(kept, alive, "policy 1", "moved") == ["n1"]
    found = {one.tickets[0] for one in kept.issues().values()}
    assert found == {b"first n0", b"moved n1", b"first n2"}


def test_what_all_share_makes_all_of_them_again_and_the_same_stays_the_same_object() -> None:
    kept, alive = Unchanged(), [ROW]
    made(kept, alive, "policy 1", "a")
    (before,) = kept.issues().values()
    assert made(kept, alive, "policy 2", "a") == ["n"]
    assert [one is before for one in kept.issues().values()] == [True]


def test_who_is_gone_is_given_nothing() -> None:
    kept, alive = Unchanged(), [ROW, dataclasses.replace(ROW, node="m")]
    made(kept, alive, "policy 1", "a")
    assert made(kept, alive[:1], "policy 1", "b") == []
    assert list(kept.issues()) == [str(ROW.spiffe_id)]
    assert made(kept, alive, "policy 1", "c") == ["m"]


@pytest.mark.parametrize("back_to", ["policy 1", "policy 2"])
def test_a_run_that_failed_half_way_leaves_nothing_to_rely_on(back_to) -> None:
    kept, alive = Unchanged(), [ROW, dataclasses.replace(ROW, node="m")]
    made(kept, alive, "policy 1", "a")
    kept.keep(kept.due(alive, "policy 2")[0], issue("half"))  # and then the store was away
    assert made(kept, alive, back_to, "b") == ["n", "m"]
