"""When an agent says it is ready: never while it denies everything, and red before its authority ends."""

import dataclasses

import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.monitor import Facts, Span, metrics, not_ready
from controlplane.api import exposition
from controlplane.api.exposition import gauge

NOW = 1000.0
WELL = Facts(
    node="gpu-1.berlin",
    version="1",
    envoy_version="1.40",
    certificate=Span(begins=0, ends=3600),
    lease=Span(begins=990, ends=1890),
    connected=True,
    revoked=False,
    received=7,
    enforced=(7, 2),
    evidence_writable=True,
    can_cut=True,
    records=3,
    gaps=0,
    decisions={"no_permit": 2},
    open_streams=0,
    not_cut=0,
    envoy_starts=1,
)


def test_all_well_is_ready() -> None:
    assert not_ready(WELL, NOW) == []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"enforced": None}, "not enforcing"),
        ({"revoked": True, "connected": False}, "revoked"),
        ({"revoked": True, "connected": True}, "quarantined"),
        ({"evidence_writable": False}, "evidence cannot be written"),
        ({"lease": Span(begins=990, ends=1000)}, "lease ends in 0 s"),
        ({"lease": Span(begins=200, ends=1100)}, "lease ends in 100 s"),
        ({"lease": Span(begins=0, ends=0)}, "lease ends in 0 s"),
        ({"certificate": Span(begins=0, ends=1200)}, "certificate ends in 200 s"),
        ({"certificate": Span(begins=0, ends=900)}, "certificate ends in 0 s"),
    ],
)
def test_one_thing_wrong_is_not_ready_and_says_which(change, reason) -> None:
    facts = dataclasses.replace(WELL, **change)
    assert not_ready(facts, NOW) == [reason]
    assert {m.name: m for m in metrics(facts, NOW)}["writ_agent_ready"].samples[0].value == 0


def test_a_control_plane_that_is_away_alone_does_not_make_a_node_red() -> None:
    assert not_ready(dataclasses.replace(WELL, connected=False), NOW) == []


def test_the_budget_is_the_shorter_of_lease_and_certificate() -> None:
    found = {m.name: m.samples[0].value for m in metrics(WELL, NOW)}
    assert found["writ_agent_budget_seconds"] == found["writ_agent_lease_seconds"] == 890
    assert found["writ_agent_certificate_seconds"] == 2600


def test_labels_from_outside_cannot_break_out_of_their_line() -> None:
    nasty = 'a"} 1\nwrit_agent_ready 1\\'
    page = exposition.render([gauge("writ_x", "Line\none.", 1, node=nasty)]).decode()
    (family,) = text_string_to_metric_families(page)
    assert [(s.name, s.labels, s.value) for s in family.samples] == [("writ_x", {"node": nasty}, 1.0)]
