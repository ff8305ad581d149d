"""Two logs held against each other: what both ends say of one request, and where they contradict each other."""

from dataclasses import replace

import pytest
from evidence import decision

from audit.verify import LogReport, Problem, reconcile

CALLER, CALLEE = "spiffe://acme.example/fr/paris/app-1", "spiffe://acme.example/de/berlin/gpu-1"
THIRD = "spiffe://acme.example/us/boston/gpu-9"
SENT = replace(
    decision(1),
    node=CALLER,
    peer=CALLEE,
    direction="out",
    allowed=True,
    status=200,
    peer_serial="1",
    details="via_upstream",
)
GOT = replace(SENT, node=CALLEE, peer=CALLER, direction="in")
RESET = "upstream_reset_before_response_started{connection_termination}"


def found(*records) -> list[Problem]:
    reports = [
        LogReport(origin=node, size=1, cosigned_at=0, records=tuple(mine), findings=())
        for node in (CALLER, CALLEE, THIRD)
        if (mine := [one for one in records if one.node == node])
    ]
    return [one.problem for one in reconcile(reports)]


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ({}, {}),
        ({"status": 403}, {"status": 403, "allowed": False}),
        ({"status": 0}, {}),
        ({}, {"status": 0}),
        ({"status": 503, "details": RESET}, {"status": 403, "allowed": False}),
    ],
    ids=[
        "answered",
        "denied",
        "the caller left",
        "the callee saw it end",
        "denied, and cut before it was read",
    ],
)
def test_both_ends_agree(sent, got) -> None:
    assert found(replace(SENT, **sent), replace(GOT, **got)) == []


@pytest.mark.parametrize(
    ("sent", "got"),
    [
        ({}, {"status": 500}),
        ({}, {"status": 403, "allowed": False}),
        ({"status": 503, "details": RESET}, {}),
    ],
    ids=["another answer", "denied, but answered", "answered, and said to be cut"],
)
def test_both_ends_contradict_each_other(sent, got) -> None:
    assert found(replace(SENT, **sent), replace(GOT, **got)) == [Problem.MISMATCH]


def test_both_ends_name_each_other() -> None:
    from_boston = replace(SENT, request_id="another", node=THIRD)
    assert found(SENT, replace(GOT, peer=THIRD), from_boston) == [Problem.MISMATCH, Problem.UNPAIRED]


def test_what_one_end_hides_is_named() -> None:
    second = {"request_id": "second"}
    assert found(SENT, GOT, replace(SENT, **second)) == [Problem.UNPAIRED]
    assert found(SENT, GOT, replace(GOT, **second)) == [Problem.UNPAIRED]
    assert found(SENT, GOT, replace(SENT, **second, status=503, peer_serial="")) == []  # it never arrived
    assert found(SENT, SENT, GOT) == [Problem.DUPLICATE]
