"""One decision in Python, beside `cedarpy` with a prepared policy set, on the same policies and the same requests.

Inputs are distinct and nothing is remembered between decisions. Policies differ in group, actions, resources, purpose, class,
region, tier and time of day; a fifth forbid. Timed in batches, so that the clock's own cost does not count; the median batch
is told. Both engines must give the same answers, or there is no figure.
"""

import json
import random
import statistics
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cedarpy

from benchmarks.rows import Row
from policies import parse
from policies.compile import ResourceFacts, compile_ingress
from policies.evaluate import Evaluator
from policies.model import ACTION_GROUPS, Decision, Principal, Request, ResourceKey

COUNTS = (10, 100, 1_000, 10_000)
ASKED, BATCH = 20_000, 50
BY_CEDAR = {10: 4_000, 100: 1_500, 1_000: 300, 10_000: 40}
NOW_MS = 1_790_000_000_000
SITES = {"berlin": "DE", "paris": "FR", "lyon": "FR"}
PURPOSES, REGIONS = ("care", "research", "billing", "audit"), ("de", "fr", "us")
TARGETS = {10: (2, 5), 100: (2, 5), 1_000: (2, 5), 10_000: (4, 15)}  # µs: aim, floor
AHEAD = {10: (20, 5), 100: (80, 20), 1_000: (500, 200), 10_000: (2_000, 500)}


def run(directory: Path) -> list[Row]:
    del directory
    rows: list[Row] = []
    for count in COUNTS:
        rows += _measure(count)
    return rows


def _measure(count: int) -> list[Row]:
    rng = random.Random(count)
    groups = [f"g{number}" for number in range(max(4, count // 8))]
    texts = [_policy(rng, number, groups) for number in range(count)]
    files = {f"p{at:05}": "\n".join(texts[at : at + 2_000]) for at in range(0, count, 2_000)}
    declared = [_facts(number) for number in range(20)]
    started, worked = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(max_workers=1) as validating:  # as the control plane does
        rules = compile_ingress(parse.load(files, validating.map), declared)
    compiled_s, worked_s = time.perf_counter() - started, time.process_time() - worked
    evaluator = Evaluator(rules)
    asked = [_request(rng, number, groups, declared) for number in range(ASKED)]
    ours, answers = _ours(evaluator, asked)
    theirs = _theirs("\n".join(texts), asked[: BY_CEDAR[count]], declared, answers)
    said = Counter(answer.code.value if answer.code else "allow" for answer in answers)
    print(
        f"{count} policies: {ASKED} decisions {dict(said)}, {BY_CEDAR[count]} of them by cedarpy, all alike",
        flush=True,
    )
    rows = _rows(count, ours, theirs)
    return rows if count < COUNTS[-1] else [*rows, _compiled(count, compiled_s, worked_s)]


def _ours(evaluator: Evaluator, asked: list[Request]) -> tuple[list[float], list[Decision]]:
    """µs per decision of each batch; and the answers."""
    decide, clock = evaluator.decide, time.perf_counter_ns
    answers: list[Decision] = []
    spent = []
    for at in range(0, len(asked), BATCH):
        batch = asked[at : at + BATCH]
        began = clock()
        made = [decide(request) for request in batch]
        spent.append((clock() - began) / 1000 / len(batch))
        answers += made
    return spent, answers


def _theirs(
    text: str, asked: list[Request], declared: list[ResourceFacts], answers: list[Decision]
) -> list[float]:
    """µs per decision, policy set and entities prepared."""
    policies = cedarpy.PolicySet.from_str(text)
    spent = []
    for request, expected in zip(asked, answers, strict=False):
        world, question = _entities(request, declared), _question(request)
        began = time.perf_counter_ns()
        (answer,) = cedarpy.is_authorized_batch([question], policies, world)
        spent.append((time.perf_counter_ns() - began) / 1000)
        because = tuple(sorted(answer.diagnostics.id_annotations_by_reason.values()))
        if (answer.allowed, because) != (expected.allowed, expected.because):
            raise SystemExit(f"engines differ on {request}: {expected}, Cedar: {answer.allowed} {because}")
    return spent


def _rows(count: int, ours: list[float], theirs: list[float]) -> list[Row]:
    median = statistics.median(ours)
    low, *_, high = statistics.quantiles(ours, n=10)
    us = Row(
        name=f"evaluate_{count}_us",
        value=median,
        unit="us",
        target=TARGETS[count][0],
        floor=TARGETS[count][1],
        better="lower",
        peer="none",
        n=ASKED,
        spread=f"p10 {low:.2f}, p90 {high:.2f}",
    )
    cedar = statistics.median(theirs)
    against = Row(
        name=f"evaluate_{count}_vs_cedarpy",
        value=cedar / median,
        unit="x",
        target=AHEAD[count][0],
        floor=AHEAD[count][1],
        better="higher",
        peer="cedarpy, prepared policy set",
        n=BY_CEDAR[count],
        spread=f"cedarpy {cedar:.0f} us",
    )
    return [us, against]


def _compiled(count: int, compiled_s: float, worked_s: float) -> Row:
    return Row(
        name=f"compile_{count}_s",
        value=compiled_s,
        unit="s",
        target=5,
        floor=10,
        better="lower",
        peer="none",
        n=1,
        spread=f"text to rules, validated; {worked_s:.2f} s of processor time",
    )


# --- what is asked -------------------------------------------------------------------------------------------------


def _policy(rng: random.Random, number: int, groups: list[str]) -> str:
    effect = "forbid" if number % 5 == 0 else "permit"
    actions = rng.choice(['action in Action::"infer"', 'action in [Action::"infer", Action::"embed"]'])
    conditions = [
        f'context.purpose == "{rng.choice(PURPOSES)}"',
        f"context.data_class <= {rng.randint(0, 4)}",
        f"principal.tier >= {rng.randint(0, 4)}",
        f'context has subject_region && ["{rng.choice(REGIONS)}", "de"].contains(context.subject_region)',
        f'context.now.toTime() < duration("{rng.randint(6, 23)}h")',
    ]
    when = " && ".join(f"({one})" for one in rng.sample(conditions, rng.randint(1, 3)))
    return (
        f'@id("p{number:05}") {effect} (principal in Group::"{rng.choice(groups)}", {actions}, '
        f'resource in ModelGroup::"m{rng.randint(0, 3)}") when {{ {when} }};'
    )


def _facts(number: int) -> ResourceFacts:
    return ResourceFacts(
        key=ResourceKey("Model", f"model-{number}", "gpu-1.berlin"),
        groups=frozenset({f"m{number % 4}"}),
        owner="radiology",
        max_class=4,
        site="berlin",
        jurisdiction="DE",
    )


def _request(rng: random.Random, number: int, groups: list[str], declared: list[ResourceFacts]) -> Request:
    site = rng.choice(list(SITES))
    regions = frozenset(rng.sample(REGIONS, rng.randint(0, 2)))
    principal = Principal(
        node=f"n{number}.{site}",
        site=site,
        jurisdiction=SITES[site],
        tier=rng.randint(0, 4),
        groups=frozenset(rng.sample(groups, rng.randint(1, 3))),
        purposes=frozenset(PURPOSES),
        regions=regions,
        class_floor=0,
        class_ceiling=4,
    )
    return Request(
        principal=principal,
        action=rng.choice([*ACTION_GROUPS["infer"], "embed"]),
        resource=rng.choice(declared).key,
        purpose=rng.choice(PURPOSES),
        data_class=rng.randint(0, 4),
        subject_region=rng.choice(sorted(regions)) if regions else None,
        protocol="openai",
        method="POST",
        path="/v1/chat/completions",
        stream=False,
        now_ms=NOW_MS + number * 1000,
    )


def _question(request: Request) -> dict[str, object]:
    assert request.resource is not None
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime((request.now_ms or 0) // 1000))
    context = {
        "purpose": request.purpose,
        "data_class": request.data_class,
        "protocol": request.protocol,
        "method": request.method,
        "path": request.path,
        "stream": request.stream,
        "now": {"__extn": {"fn": "datetime", "arg": at}},
        "source_ip": {"__extn": {"fn": "ip", "arg": "192.0.2.1"}},
        **({"subject_region": request.subject_region} if request.subject_region else {}),
    }
    return {
        "principal": {"type": "Node", "id": request.principal.node},
        "action": {"type": "Action", "id": request.action},
        "resource": {"type": request.resource.kind, "id": request.resource.uid},
        "context": json.dumps(context),
    }


def _entities(request: Request, declared: list[ResourceFacts]) -> cedarpy.Entities:
    principal = request.principal
    attributes = {
        "site": principal.site,
        "jurisdiction": principal.jurisdiction,
        "tier": principal.tier,
        "purposes": sorted(principal.purposes),
        "regions": sorted(principal.regions),
        "class_ceiling": principal.class_ceiling,
    }
    found = [_entity("Node", principal.node, attributes, [("Group", group) for group in principal.groups])]
    for item in declared:
        facts = {
            "name": item.key.name,
            "site": item.site,
            "jurisdiction": item.jurisdiction,
            "owner": item.owner,
        }
        groups = [("ModelGroup", group) for group in item.groups]
        found.append(_entity("Model", item.key.uid, {**facts, "max_class": item.max_class}, groups))
    for group, members in ACTION_GROUPS.items():
        found += [_entity("Action", member, {}, [("Action", group)]) for member in members]
    return cedarpy.Entities.from_json_str(json.dumps(found))


def _entity(
    kind: str, id_: str, attrs: dict[str, object], parents: list[tuple[str, str]]
) -> dict[str, object]:
    return {
        "uid": {"type": kind, "id": id_},
        "attrs": attrs,
        "parents": [{"type": parent, "id": name} for parent, name in parents],
    }
