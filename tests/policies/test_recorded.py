"""Records are replayed as they were decided; what is suggested from them allows exactly what they allowed."""

import dataclasses
import itertools
import random

import pytest
from recorded import denied, record

from policies import lint, parse, suggest
from policies import mesh as meshes
from policies.compile import compile_ingress
from policies.errors import InputError
from policies.evaluate import Evaluator
from policies.recorded import read
from policies.simulate import ALLOWED, DENIED, Flow, simulate

MESH = meshes.read(
    [
        {
            "node": f"{name}.paris",
            "jurisdiction": "FR",
            "groups": ["clinical"],
            "purposes": ["care", "billing"],
            "regions": ["fr"] if name == "app-2" else [],
            "class_ceiling": 3,
        }
        for name in ("app-1", "app-2")
    ]
    + [{"node": "gpu-1.berlin", "jurisdiction": "DE"}],
    [{"resource": "Model/ngram@gpu-1.berlin"}, {"resource": "Model/other@gpu-1.berlin"}],
)
FLOW = Flow("app-1.paris", "chat", "Model/ngram@gpu-1.berlin")
ALL = '@id("all") permit(principal, action == Action::"chat", resource is Model);'


def load(*records):
    return [read(dataclasses.asdict(item), "here") for item in records]


def policies(*texts: str):
    return parse.load({f"{number}": text for number, text in enumerate(texts)})


def test_verdicts_that_change_are_counted_by_flow() -> None:
    records = load(record(), record(), record(claimed_data_class="2"), denied(claimed_purpose="billing"))
    strict = policies(
        ALL, '@id("no-2") forbid(principal, action, resource) when { context.data_class == 2 };'
    )
    found = simulate(strict, MESH, records)
    assert (found.records, found.same) == (4, 2)
    assert {place: len(moved.requests) for place, moved in found.moved.items()} == {
        (DENIED, FLOW): 1,
        (ALLOWED, FLOW): 1,
    }
    assert found.moved[DENIED, FLOW].because == ("no-2",)
    assert found.moved[ALLOWED, FLOW].because == ("all",)
    assert found.moved[ALLOWED, FLOW].example == f"{records[3].request_id}/out"


def test_both_ends_of_a_request_are_one_request() -> None:
    out = record()
    in_ = dataclasses.replace(out, direction="in", node=out.peer, peer=out.node)
    found = simulate((), MESH, load(out, in_))
    assert found.requests(DENIED) == 1


@pytest.mark.parametrize(
    ("item", "why"),
    [
        (denied("revoked"), "decided before any policy: revoked"),
        (denied("lease_expired"), "decided before any policy: lease_expired"),
        (denied("claim_not_allowed"), "decided before any policy: claim_not_allowed"),
        (record(node="spiffe://acme.example/fr/paris/gone"), "the caller is not a known node"),
        (record(node="garbage"), "the caller is not a known node"),
        (record(resource="Model/gone"), "the resource is not declared"),
        (record(resource=""), "the record does not say what was asked"),
        (record(claimed_data_class=""), "the record does not say what was asked"),
    ],
)
def test_what_cannot_be_replayed_is_counted_and_never_guessed(item, why) -> None:
    found = simulate(policies(ALL), MESH, load(item))
    assert (dict(found.skipped), found.moved, found.same) == ({why: 1}, {}, 0)


def test_a_masked_path_is_said_where_policies_ask_for_paths() -> None:
    masked = load(record(path="/files/***"))
    asks = policies(ALL, '@id("p") forbid(principal, action, resource) when { context.path like "/x*" };')
    assert simulate(asks, MESH, masked).masked == 1
    assert simulate(policies(ALL), MESH, masked).masked == 0


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"action": 3}, "`action` must be a string"),
        ({"stream": "yes"}, "must be `true` or `false`"),
        ({"policy_version": None}, "must be numbers"),
        ({"code": "who knows"}, "is no code of this decision"),
        ({"code": "no_permit"}, "is no code of this decision"),
    ],
)
def test_what_is_no_record_is_refused(change, error) -> None:
    with pytest.raises(InputError, match=error):
        read({**dataclasses.asdict(record()), **change}, "here")


def test_runs_and_gaps_are_no_decisions() -> None:
    assert read({"kind": "gap"}, "here") is None


def test_a_suggestion_says_what_was_seen() -> None:
    text = suggest.cedar(suggest.boxes(load(record(), record(claimed_data_class="2"), denied())))
    assert text.count("permit") == 1
    assert 'principal == Node::"app-1.paris"' in text
    assert "[1, 2].contains(context.data_class)" in text
    assert "// 2 requests, the last on 2023-11-14" in text


@pytest.mark.parametrize("seed", range(20))
def test_a_suggestion_allows_exactly_what_was_allowed(seed: int) -> None:
    rng = random.Random(seed)
    callers = {"app-1": [""], "app-2": ["fr"]}
    points = [
        (caller, region, action, name, purpose, data_class)
        for caller, regions in callers.items()
        for region in regions
        for action, name, purpose, data_class in itertools.product(
            ["chat", "embed"], ["ngram", "other"], ["care", "billing"], range(4)
        )
    ]
    records = {
        point: record(
            node=f"spiffe://acme.example/fr/paris/{point[0]}",
            claimed_subject_region=point[1],
            action=point[2],
            resource=f"Model/{point[3]}",
            claimed_purpose=point[4],
            claimed_data_class=str(point[5]),
        )
        for point in points
    }
    seen = set(rng.sample(points, rng.randint(1, len(points))))
    boxes = suggest.boxes(load(*(records[point] for point in sorted(seen))))
    suggested = parse.load({"s": suggest.cedar(boxes)})
    assert lint.remarks(suggested, MESH) == []
    assert sum(box.requests for box in boxes) == len(seen)
    engine = Evaluator(compile_ingress(suggested, MESH.resources))
    for point, item in records.items():
        [replayed] = load(item)
        request = replayed.request(MESH.node(replayed.caller))
        assert engine.decide(request).allowed is (point in seen)


def test_names_from_records_cannot_leave_their_quotes() -> None:
    """A hostile name is no grammar of ours: it is not suggested, let alone written into a policy."""
    hostile = [
        record(claimed_purpose='care" || true || "'),
        record(node='spiffe://acme.example/fr/paris/x"'),
        record(claimed_subject_region='"'),
        record(action='chat", principal'),
        record(resource='Model/a"b'),
    ]
    assert suggest.boxes(load(*hostile)) == []
