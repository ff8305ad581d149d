"""Who counts as enforcing a generation, and what is said of those who do not answer."""

import pytest

from controlplane import model
from controlplane.api.gen import replica_pb2
from controlplane.model import NodeRow
from controlplane.rpc.replica_api import report, states
from controlplane.services import rows
from controlplane.services.mesh import setup
from controlplane.services.push.enforcement import follow
from controlplane.services.push.hub import AgentState, Hub, Receipt, keep_receipt
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore

NOW, DOMAIN, LEASE_S = 1_900_000_000, "acme.example", 60
ROW = NodeRow(trust_domain=DOMAIN, node="gpu-1", site="paris", jurisdiction="FR", state=model.ENROLLED)
NAME = str(ROW.spiffe_id)


@pytest.fixture
async def publisher(tmp_path) -> Publisher:
    made = setup.make_mesh(DOMAIN, tmp_path, FileSigner(tmp_path / "keys", b"p" * 32), NOW)
    store = MemoryStore()
    publisher = Publisher(store, made, Hub(), lease_s=LEASE_S, heartbeat_s=10, clock=lambda: float(NOW))
    for _ in range(5):
        await store.commit(expect={}, put={rows.MESH: b"{}"})
    await publisher.refresh()
    return publisher


async def followed(publisher: Publisher, generation: int) -> tuple[bool, int, int]:
    """(enforced, when, until when at the latest) of the one node."""
    events = [event async for event in follow(publisher, [ROW], generation, 0.3)]
    assert [event.last for event in events] == [False, True]
    return events[0].enforced, events[0].at_ms, events[0].trust_until


@pytest.mark.parametrize(
    ("receipts", "enforced"),
    [
        ({}, False),
        ({2: 20}, False),  # another generation, from before
        ({9: 90}, False),  # one that does not exist yet: signed in advance
        ({3: 30}, True),
        ({5: 50}, True),  # a later one holds all that came before
        ({2: 20, 9: 90}, False),
    ],
)
async def test_only_a_receipt_for_it_or_a_later_one_that_exists_counts(publisher, receipts, enforced) -> None:
    assert publisher.issue.generation == 5
    state, _ = publisher.hub.attach(NAME, lambda: None)
    for generation, at_ms in receipts.items():
        keep_receipt(state, generation, at_ms, b"signed")
    found, at_ms, until = await followed(publisher, 3)
    assert (found, at_ms) == (enforced, max(receipts.values()) if enforced else 0)
    assert until == (0 if enforced else NOW + LEASE_S)


async def test_a_receipt_that_is_sent_again_is_not_a_later_one(publisher) -> None:
    state, _ = publisher.hub.attach(NAME, lambda: None)
    state.certificate = b"of then"
    keep_receipt(state, 5, 1, b"first")
    state.certificate = b"of now"  # it renewed: what it signed before is proven by the one before
    keep_receipt(state, 5, 2, b"again")
    assert state.receipts == {5: Receipt(1, b"first", b"of then")}


def test_another_replica_is_told_the_receipt_with_what_proves_it() -> None:
    state = AgentState(NAME, connected=True, certificate=b"leaf")
    keep_receipt(state, 5, 1, b"signed")
    (told,) = states(replica_pb2.Agents(agents=[report(state)]), "two")
    assert (told.receipts, told.replica) == ({5: Receipt(1, b"signed", b"leaf")}, "two")


async def test_who_is_away_acts_no_longer_than_a_lease_after_it_could_last_hear_of_us(publisher) -> None:
    assert (await followed(publisher, 3))[
        2
    ] == NOW + LEASE_S  # never seen here: perhaps through another replica
    state, wake = publisher.hub.attach(NAME, lambda: None)
    state.lease_until = 7  # its own word shortens nothing
    assert (await followed(publisher, 3))[2] == NOW + LEASE_S
    publisher.hub.detach(NAME, wake)
    state.away_since = NOW - 50
    assert (await followed(publisher, 3))[2] == NOW - 50 + LEASE_S
    publisher.hub.attach(NAME, lambda: None)
    assert (await followed(publisher, 3))[2] == NOW + LEASE_S
