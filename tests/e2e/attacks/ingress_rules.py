"""What the callee decides, whatever the caller's own sidecar said: invariants 1, 5, 6, 11 and 12."""

import time

import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.ingress import GOOD, ask, chat, claim
from sidecar import CALLER, POLICY, Sidecar

from agent.envoy import authorize, gate, lower, pb
from agent.envoy.actions import Stamp
from agent.envoy.dataplane import DataPlane
from policies.model import Field

MANAGER = ("filter_chains", 0, "filters", 0, "typed_config")
ONLY_FRENCH = """
@id("only-french")
forbid (principal, action, resource) unless { context has subject_region && context.subject_region == "fr" };
"""
BY_PATH = '@id("by-path") forbid (principal, action, resource) when { context.path like "/v1/f*s" };'
DENIED = {403, 500}
START_S = 10
NO_REGIONS: dict[str, frozenset[str]] = {"regions": frozenset()}


def hostile(**request) -> Attack:
    """A node with its own real certificate and no sidecar of its own: nothing has been decided before it asks."""

    def attack(s: Sidecar) -> bool:
        return s.ask(s.pki.node("lab-1", "boston", "US", CALLER), **request).allowed

    return attack


def before_the_first_state(s: Sidecar) -> bool:
    """As soon as Envoy listens. What gets past the filters finds nothing that is served: 404."""
    deadline = time.monotonic() + START_S
    while (answer := s.ask()).status == 0:
        assert time.monotonic() < deadline, "Envoy does not listen"
    return answer.status not in DENIED


def ignore_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_leased", lambda until, stamp: pb.act(stamp.name("pass"), allow=True))
    monkeypatch.setattr(DataPlane, "_closed", lambda *_args, **_kw: None)


def ignore_recording(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DataPlane, "_closed", lambda *_args, **_kw: None)


def nothing_written_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attribute that a forbid asks for is absent when it is evaluated: CEL fails."""
    monkeypatch.setitem(lower.HEADERS, Field.PATH, "writ-nowhere")


def open_at_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that an Envoy without a state is given lets requests pass, to the one that is served."""

    def passed(_code: object, stamp: Stamp) -> authorize.RBAC:
        return authorize.RBAC(matcher=pb.always(pb.act(stamp.name("pass"), allow=True)))

    monkeypatch.setattr(gate, "closed", passed)


CONTROLS = (
    Control(
        1,
        "permits: nothing without one",
        [
            ("a model that is not declared", chat(b'{"model":"secret"}')),
            ("a purpose no policy permits", claim(("writ-purpose", "research"), *GOOD[1:])),
            ("a class no policy permits", claim(GOOD[0], ("writ-data-class", "3"), GOOD[2])),
            ("an endpoint that is not in the table", ask(path="/v1/files")),
            ("a method that is not in the table", ask(method="PUT")),
            ("another group", claim(*GOOD, groups=frozenset({"finance"}))),
            ("a path that climbs to it", ask(path="/v1/chat/../files")),
            ("a doubled slash", ask(path="//v1/files")),
        ],
        mutants.no_filter("permits"),
    ),
    Control(
        1,
        "lease: act only on fresh word",
        [("a request after the lease", ask())],
        ignore_time,
        changes={"lease_s": -5},
    ),
    Control(
        5,
        "callee: decides alone",
        [
            (
                "a hostile caller past its own sidecar, another model",
                hostile(body=b'{"model":"secret"}'),
            ),
            (
                "a hostile caller past its own sidecar, another purpose",
                hostile(claims=False, headers=[("writ-purpose", "research"), *GOOD[1:]]),
            ),
            (
                "a hostile caller past its own sidecar, another class",
                hostile(claims=False, headers=[GOOD[0], ("writ-data-class", "3"), GOOD[2]]),
            ),
            (
                "a hostile caller that says it was allowed",
                hostile(path="/v1/files", headers=[("writ-verdict", "ok")]),
            ),
        ],
        mutants.no_filter("permits"),
    ),
    Control(
        6,
        "forbids: win over permits",
        [("a forbidden region", claim(*GOOD[:2], ("writ-subject-region", "us")))],
        mutants.no_filter("forbids"),
    ),
    Control(
        6,
        "forbids: hold for what is absent",
        [("a forbid over an absent attribute", claim(*GOOD[:2], **NO_REGIONS))],
        mutants.no_filter("forbids"),
        changes={"policy": ONLY_FRENCH + POLICY},
    ),
    Control(
        6,
        "forbids: one that cannot be evaluated denies",
        [("a forbid whose attribute nobody wrote", ask())],
        mutants.both(
            mutants.code(authorize, "forbids", "inputs.well_formed(rule.when for rule in rules.rules)", "[]"),
            mutants.code(
                authorize,
                "_forbid_leaf",
                "pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)",
                "pb.act(stamp.name(PASS), allow=True)",
            ),
        ),
        changes={"policy": POLICY + BY_PATH},
        given=nothing_written_there,
    ),
    Control(
        6,
        "forbids: in any order",
        [
            ("the forbid written last", claim(*GOOD[:2], ("writ-subject-region", "us"))),
            ("the forbid among the permits", claim(*GOOD[:2], **NO_REGIONS)),
        ],
        mutants.code(authorize, "forbids", "if _is_forbid(rule)]", "if _is_forbid(rule)][:1]"),
        changes={"policy": POLICY + ONLY_FRENCH},
    ),
    Control(
        11,
        "gate: no record, no request",
        [("a request while evidence cannot be written", ask())],
        ignore_recording,
        changes={"recording": False},
    ),
    Control(
        12,
        "headers: within their size",
        [("64 KiB of headers", ask(headers=[(f"x-{n}", "y" * 8000) for n in range(8)]))],
        mutants.listener("ingress", *MANAGER, "max_request_headers_kb", value=200),
    ),
    Control(
        12,
        "start: closed until something is known",
        [("a request before the first state", before_the_first_state)],
        open_at_start,
        changes={"enforce": False},
    ),
)
