"""Who is woken, for what, and when; and what is made again for whom."""

import asyncio
import dataclasses

import pytest

from controlplane.model import NodeRow
from controlplane.services.push import hub as hubs
from controlplane.services.push.hub import Hub
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
