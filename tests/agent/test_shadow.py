"""A shadow ticket is never what is enforced: not by its number, not after a restart, not by an agent that knows no shadows."""

import dataclasses

import pytest
from pki import NOW
from signed import PEERS, RULES, Signed, blobs

from agent import state as states
from agent.documents import DocumentStore
from agent.sync import Hooks, Received, Sync
from controlplane.api.gen import sync_pb2
from policies import documents as d
from policies import trusted as verifier
from policies.errors import FeatureError

SHADOWED = ("rules-v1", d.SHADOW)


@pytest.fixture
def signed() -> Signed:
    return Signed()


@pytest.fixture
def node(signed):
    node = signed.node()
    node.update_delegation(signed.delegation(), NOW)
    node.update_trust(signed.trust(policy_min=1, policy_now=3), NOW)
    return node


def sync_of(node, directory) -> Sync:
    hooks = Hooks(
        changed=lambda: None,
        renew=lambda _: None,
        reissue=lambda *_: None,
        roots=lambda _: None,
        hello=lambda: None,
        health=lambda: None,
    )
    received = Received(trusted=node, bundles={})
    return Sync(received, DocumentStore(directory), hooks)


def tickets(*found: bytes) -> sync_pb2.SyncResponse:
    return sync_pb2.SyncResponse(tickets=found, blobs=[RULES, PEERS])


def test_an_agent_that_does_not_know_shadows_refuses_the_ticket(signed, node, monkeypatch) -> None:
    monkeypatch.setattr(verifier, "FEATURES", frozenset({"rules-v1"}))
    with pytest.raises(FeatureError, match="shadow-v1"):
        node.update_ticket(signed.ticket(version=2, features=SHADOWED), blobs(RULES, PEERS), NOW)


def test_such_an_agent_still_takes_the_tickets_before_it(signed, node, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(verifier, "FEATURES", frozenset({"rules-v1"}))
    sync = sync_of(node, tmp_path)
    with pytest.raises(FeatureError):
        sync._accept(tickets(signed.ticket(version=1), signed.ticket(version=2, features=SHADOWED)), NOW)
    assert set(sync.received.bundles) == {1}
    assert sync.received.shadow is None


def test_a_shadow_is_kept_apart_whatever_its_number(signed, node, tmp_path) -> None:
    sync = sync_of(node, tmp_path)
    sync._accept(tickets(signed.ticket(version=1), signed.ticket(version=3, features=SHADOWED)), NOW)
    assert set(sync.received.bundles) == {1}
    assert sync.received.shadow is not None
    assert sync.received.shadow.ticket.policy_version == 3
    chosen = states.select(sync.received.bundles, node.trust)
    assert chosen is not None
    assert chosen.ticket.policy_version == 1


def test_even_among_the_others_it_would_not_be_chosen(signed, node) -> None:
    shadow = node.update_ticket(signed.ticket(version=3, features=SHADOWED), blobs(RULES, PEERS), NOW)
    plain = dataclasses.replace(shadow, ticket=dataclasses.replace(shadow.ticket, features=("rules-v1",)))
    assert states.select({3: shadow}, node.trust) is None
    assert states.select({3: plain}, node.trust) is plain, "the feature alone makes the difference"


def test_a_shadow_ends_when_it_is_not_among_the_tickets(signed, node, tmp_path) -> None:
    sync = sync_of(node, tmp_path)
    sync._accept(tickets(signed.ticket(version=1), signed.ticket(version=3, features=SHADOWED)), NOW)
    sync._accept(sync_pb2.SyncResponse(heartbeat=b""), NOW)
    assert sync.received.shadow is not None, "news without tickets says nothing of it"
    sync._accept(tickets(signed.ticket(version=1)), NOW)
    assert sync.received.shadow is None


def test_nothing_of_a_shadow_is_there_after_a_restart(signed, node, tmp_path) -> None:
    sync = sync_of(node, tmp_path)
    store = DocumentStore(tmp_path)
    store.keep(node, trust=signed.trust(policy_min=1, policy_now=3))
    sync._accept(tickets(signed.ticket(version=1), signed.ticket(version=3, features=SHADOWED)), NOW)
    assert [path.stem for path in (tmp_path / "tickets").iterdir()] == ["1"]
    # And if somebody puts it there:
    (tmp_path / "tickets" / "3.json").write_bytes(signed.ticket(version=3, features=SHADOWED))
    again = signed.node()
    assert set(store.restore(again, signed.delegation(), NOW)) == {1}
