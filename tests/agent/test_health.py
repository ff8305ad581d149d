"""What an agent tells of itself, and how often: news at once, and otherwise little."""

import asyncio
from types import SimpleNamespace

import pytest

from agent import sync
from agent.documents import DocumentStore
from agent.sync import Hooks, Received, Sync
from controlplane.api.gen import sync_pb2

SOON_S = 0.01


@pytest.fixture
def said(monkeypatch, tmp_path):
    """The agent's own words, and what it says on a stream; health is due every 10 ms, and again after `UNCHANGED_S`."""
    monkeypatch.setattr(sync, "HEALTH_S", SOON_S)
    health, looked = sync_pb2.Health(), []

    def look() -> sync_pb2.Health:
        looked.append(True)
        now = sync_pb2.Health()
        now.CopyFrom(health)
        now.records, now.clock_ms, now.lease_until = len(looked), len(looked), len(looked)
        return now

    hooks = Hooks(
        changed=lambda: None,
        renew=print,
        reissue=print,
        roots=print,
        hello=sync_pb2.Hello,
        health=look,
    )
    received = Received(SimpleNamespace(heartbeat=None), {})  # type: ignore[arg-type]  # no lease yet
    requests = Sync(received, DocumentStore(tmp_path), hooks)._requests()
    return SimpleNamespace(health=health, looked=looked, requests=requests)


async def after_looks(said, count: int) -> None:
    while len(said.looked) < count:
        await asyncio.sleep(SOON_S)


async def test_health_that_says_nothing_new_is_not_repeated_and_news_are_told_at_the_next_look(said) -> None:
    assert (await anext(said.requests)).WhichOneof("event") == "hello"
    assert (await anext(said.requests)).health.records == 1
    waiting = asyncio.ensure_future(anext(said.requests))
    await after_looks(said, 5)
    assert not waiting.done()  # the clock, the lease and the number of records went on
    said.health.evidence_unwritable = True
    told = (await waiting).health
    assert (told.evidence_unwritable, told.records) == (True, len(said.looked))


async def test_health_is_repeated_though_nothing_is_new(said, monkeypatch) -> None:
    monkeypatch.setattr(sync, "UNCHANGED_S", SOON_S)
    await anext(said.requests)
    assert [(await anext(said.requests)).health.records for _ in range(3)] == [1, 2, 3]
