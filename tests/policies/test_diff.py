"""A diff names every gain and every loss, each with a request on which the two sets really differ, and nothing else."""

import ipaddress
import itertools
import random

import pytest
import worlds
from generated import Policies

from policies import mesh as meshes
from policies import parse, patterns, satisfy, simplify, space
from policies.compile import compile_egress, compile_ingress
from policies.diff import GAINS, LOSES, diff
from policies.evaluate import Evaluator, holds
from policies.mesh import Mesh
from policies.model import Field, Request

NODES = [
    {
        "node": "app-1.paris",
        "jurisdiction": "FR",
        "groups": ["clinical"],
        "purposes": ["care"],
        "class_ceiling": 3,
    },
    {
        "node": "app-2.paris",
        "jurisdiction": "FR",
        "groups": ["clinical"],
        "purposes": ["care"],
        "class_ceiling": 3,
    },
    {"node": "lab-1.ohio", "jurisdiction": "US", "purposes": ["research"], "class_ceiling": 1},
    {"node": "gpu-1.berlin", "jurisdiction": "DE"},
]
RESOURCES = [
    {"resource": "Model/ngram@gpu-1.berlin", "groups": ["clinical"], "max_class": 4},
    {"resource": "Model/open@gpu-1.berlin", "max_class": 1},
]
MESH = meshes.read(NODES, RESOURCES)
CARE = '@id("care") permit(principal in Group::"clinical", action in Action::"infer", resource in ModelGroup::"clinical") when { %s };'


def load(*texts: str):
    return parse.load({f"{number}.cedar": text for number, text in enumerate(texts)})


def test_what_says_the_same_in_other_words_changes_nothing() -> None:
    old = load(CARE % "context.data_class <= 2")
    new = load(CARE.replace('"care"', '"renamed"') % "!(context.data_class > 2)")
    assert diff(old, new, MESH) == []
    split = load(
        CARE % "context.data_class == 0",
        CARE.replace('"care"', '"b"') % "[1, 2].contains(context.data_class)",
    )
    assert diff(old, split, MESH) == []


def test_a_gain_names_who_and_what_and_shows_a_request() -> None:
    [change] = diff(load(CARE % "context.data_class <= 2"), load(CARE % "context.data_class <= 3"), MESH)
    assert (change.what, change.nodes) == (GAINS, ("app-1.paris", "app-2.paris"))
    assert change.actions == ("chat", "completion", "media", "respond", "tensor")
    assert [meshes.shown(key) for key in change.resources] == ["Model/ngram@gpu-1.berlin"]
    assert (change.example.data_class, change.example.purpose) == (3, "care")
    assert (change.before.allowed, change.after.allowed, change.after.because) == (False, True, ("care",))
    assert change.widens


def test_a_forbid_that_is_new_takes_and_one_that_goes_gives() -> None:
    care, no = CARE % "true", '@id("no") forbid(principal, action, resource) when { context.stream };'
    assert {(c.what, c.example.stream, c.widens) for c in diff(load(care), load(care, no), MESH)} == {
        (LOSES, True, False)
    }
    assert {c.what for c in diff(load(care, no), load(care), MESH)} == {GAINS}


def test_a_permit_that_no_certificate_can_use_is_no_gain() -> None:
    """Claims stay within the certificate: no node may claim `billing`, class 4, or a region."""
    never = load(
        CARE % 'context.purpose == "billing"',
        CARE.replace('"care"', '"b"') % "context.data_class == 4",
        CARE.replace('"care"', '"c"') % "context has subject_region",
    )
    assert diff((), never, MESH) == []


def test_a_gain_on_a_path_is_found_between_patterns() -> None:
    old = load(CARE % 'context.path like "/v1/*" && context.path like "*s"')
    new = load(CARE % 'context.path like "/v1/*" && context.path != "/v1/x"')
    [change] = diff(old, new, MESH)
    assert change.what == GAINS
    assert change.example.path.startswith("/v1/")
    assert not change.example.path.endswith("s")
    assert change.example.path != "/v1/x"


@pytest.mark.parametrize("seed", range(40))
def test_no_change_is_missed_and_none_is_made_up(seed: int) -> None:
    """Against every request there is over small sets of values."""
    rng = random.Random(seed)
    mesh = _world(rng)
    texts = ["\n".join(Policies(rng).some(rng.randint(1, 6))) for _ in range(2)]
    old, new = (parse.load({"p": text}) for text in texts)
    found = diff(old, new, mesh)
    for change in found:
        assert change.before.allowed is (change.what == LOSES)
        assert change.after.allowed is (change.what == GAINS)
    said = {
        (c.what, node, action, key)
        for c in found
        for node in c.nodes
        for action in c.actions
        for key in c.resources
    }
    for caller in mesh.nodes:
        remote = [facts for facts in mesh.resources if facts.key.node != caller.node]
        before, after = (Evaluator(compile_ingress(p, remote)) for p in (old, new))
        for request in _every(caller, mesh):
            was, now = before.decide(request).allowed, after.decide(request).allowed
            if was != now:
                place = (caller.node, request.action, request.resource)
                assert (GAINS if now else LOSES, *place) in said


def _world(rng: random.Random) -> Mesh:
    nodes = {node.node: node for node in (worlds.principals(rng) for _ in range(4))}
    facts = {item.key: item for item in (worlds.facts(rng, number) for number in range(4))}
    return Mesh(nodes=tuple(nodes.values()), resources=tuple(facts.values()))


def _every(caller, mesh: Mesh):
    regions = sorted(caller.regions) or [None]
    claims = itertools.product(
        sorted(caller.purposes), range(caller.class_floor, caller.class_ceiling + 1), regions
    )
    texts = itertools.product(
        ["openai", "http"], ["GET", "POST"], ["/v1/models", "/x*y", "/a"], [True, False]
    )
    for (action, key), (purpose, data_class, region), rest in itertools.product(
        list(mesh.places(caller)), list(claims), list(texts)
    ):
        protocol, method, path, stream = rest
        yield Request(
            principal=caller,
            action=action,
            resource=key,
            purpose=purpose,
            data_class=data_class,
            subject_region=region,
            protocol=protocol,
            method=method,
            path=path,
            stream=stream,
            now_ms=worlds.NOW_MS,
            source_ip=ipaddress.IPv4Address("127.0.0.1"),
        )


@pytest.mark.parametrize(
    ("field", "literals", "liked"),
    [
        (Field.PATH, ["/v1/models", "/a"], [("/v1/", ""), ("", "s"), ("", "mod", "")]),
        (Field.METHOD, ["GET"], [("G", ""), ("", "T"), ("", "E", "")]),
        (Field.PRINCIPAL_SITE, ["paris", "a"], [("a", ""), ("", "a"), ("", "-", "")]),
        (Field.PRINCIPAL_JURISDICTION, ["FR", "DE"], [("F", ""), ("", "R")]),
        (Field.PURPOSE, [], [("a", "b"), ("", "ab", "")]),
    ],
)
def test_examples_of_strings_cover_what_patterns_tell_apart(field, literals, liked) -> None:
    """Held against every string of up to five characters."""
    from policies import grammar

    found = patterns.kinds(field, literals, liked)
    assert set(literals) <= set(found)
    told = {tuple(simplify.matches(parts, text) for parts in liked) for text in found if text not in literals}
    alphabet = sorted(
        {c for text in literals for c in text} | {c for p in liked for part in p for c in part} | {"Z", "z"}
    )
    for size in range(1, 5):
        for chars in itertools.product(alphabet, repeat=size):
            text = ("/" if field is Field.PATH else "") + "".join(chars)
            if text not in literals and grammar.possible(field, text):
                assert tuple(simplify.matches(parts, text) for parts in liked) in told


@pytest.mark.parametrize("seed", range(30))
def test_a_witness_makes_its_condition_true(seed: int) -> None:
    rng = random.Random(seed)
    caller = worlds.principals(rng)
    facts = worlds.facts(rng, 0)
    if facts.key.node == caller.node:
        return
    policies = parse.load({"p": "\n".join(Policies(rng).some(3))})
    for (action, key), rules in space.split(compile_egress(policies, caller, [facts])).items():
        for rule in rules:
            values = satisfy.witness(rule.when, space.claims(caller))
            if values is not None:
                assert holds(rule.when, space.request(caller, action, key, values))
