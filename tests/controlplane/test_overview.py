"""What counts as trouble, and in which order an operator hears of it."""

import dataclasses

import pytest

from controlplane.model import NodeRow
from controlplane.services import vitals
from controlplane.services.overview import AuthorityEnd, Wanted, summarise
from controlplane.services.push.hub import AgentState
from controlplane.services.vitals import Vitals

NOW = 1_000_000
WANTED = Wanted(generation=9, policy_min=2, policy_now=3)
ROW = NodeRow(
    trust_domain="acme.example",
    node="gpu-1",
    site="berlin",
    jurisdiction="DE",
    state="enrolled",
    epoch=1,
    not_after=NOW + 3000,
)
AGENT = AgentState(str(ROW.spiffe_id), connected=True, generation=9, policy_version=3)
VITALS = Vitals(
    version="1",
    beat_age_s=2,
    heartbeat_s=10,
    lease_s=900,
    svid_lifetime_s=3600,
    authorities=[AuthorityEnd(kind="node-ca", not_before=0, not_after=NOW + 86400)],
)


def troubles(row: NodeRow = ROW, **agent: object) -> list[str]:
    state = dataclasses.replace(AGENT, **agent)
    seen = summarise([row], {str(row.spiffe_id): state}, WANTED, 3600, NOW)
    assert bool(seen.attention) is bool(seen.nodes[0].troubles)
    return [trouble.kind for trouble in seen.nodes[0].troubles]


@pytest.mark.parametrize(
    ("agent", "kinds"),
    [
        ({}, []),
        ({"generation": 10}, []),
        ({"generation": 8}, ["lagging"]),
        ({"policy_version": 2}, ["lagging"]),
        ({"error": "RollbackError: x", "generation": 0}, ["refused"]),
        ({"connected": False}, ["away"]),
        ({"connected": False, "gaps": 3, "error": "old news"}, ["away"]),
        ({"gaps": 2}, ["gap"]),
        ({"not_cut": ["a until t", "b until t"], "cannot_cut": True}, ["not_cut", "cannot_cut"]),
        ({"evidence_unwritable": True, "generation": 8}, ["evidence", "lagging"]),
    ],
)
def test_what_an_agent_says_becomes_trouble(agent, kinds) -> None:
    assert troubles(**agent) == kinds


@pytest.mark.parametrize(
    ("left", "kinds"), [(3000, []), (720, []), (719, ["expiring"]), (0, ["expired"]), (-5, ["expired"])]
)
def test_a_certificate_that_was_not_renewed_is_trouble_before_it_ends(left, kinds) -> None:
    assert troubles(dataclasses.replace(ROW, not_after=NOW + left)) == kinds


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        ("invited", []),
        ("revoked", []),
        ("locked", ["locked"]),
        ("quarantined", ["quarantined"]),
        ("enrolled", ["expired"]),
    ],
)
def test_only_enrolled_nodes_are_expected_to_work(state, kinds) -> None:
    assert troubles(dataclasses.replace(ROW, state=state, not_after=0)) == kinds


def test_a_quarantined_node_lags_behind_no_policy_for_it_is_given_none() -> None:
    apart = dataclasses.replace(ROW, state="quarantined")
    for held, enforcing in (({"policy_version": 0}, 1), ({"generation": 8}, 0)):
        agent = dataclasses.replace(AGENT, **held)
        assert summarise([apart], {str(apart.spiffe_id): agent}, WANTED, 3600, NOW).enforcing == enforcing


def test_the_most_urgent_node_comes_first_and_every_certificate_is_counted_once() -> None:
    rows = [dataclasses.replace(ROW, node=f"n-{i}", not_after=NOW + i * 1000 - 1000) for i in range(5)]
    agents = {
        str(row.spiffe_id): dataclasses.replace(AGENT, spiffe_id=str(row.spiffe_id)) for row in rows[2:]
    }
    seen = summarise(rows, agents, WANTED, 3600, NOW)
    assert [view.row.node for view in seen.attention] == ["n-0", "n-1"]
    assert seen.expiry == {0: 2, 300: 0, 900: 0, 1800: 1, 3600: 2, 21600: 0, 86400: 0, -1: 0}
    assert (seen.connected, seen.enforcing, seen.by_state) == (3, 3, {"enrolled": 5})


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({}, []),
        ({"beat_age_s": None}, ["no heartbeat was signed yet"]),
        ({"beat_age_s": 31}, ["no heartbeat was signed for 31 s: can the store be read?"]),
        (
            {"authorities": [AuthorityEnd(kind="node-ca", not_before=0, not_after=NOW + 3599)]},
            ["`node-ca` ends in 3599 s"],
        ),
    ],
)
def test_a_control_plane_that_keeps_nobody_alive_is_not_ready(change, reasons) -> None:
    assert vitals.not_ready(dataclasses.replace(VITALS, **change), NOW) == reasons
