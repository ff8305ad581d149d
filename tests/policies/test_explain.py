"""An explanation shows each clause's value, what decided, and which permit came nearest."""

import dataclasses

from policies import parse
from policies.compile import ResourceFacts
from policies.explain import ClauseValue, explain
from policies.model import Code, Principal, Request, ResourceKey

SOURCE = r"""
@id("care") @reason("treatment only")
permit(principal in Group::"clinical", action in Action::"infer", resource is Model)
when { context.purpose == "care" && context.data_class <= resource.max_class }
unless { context.stream };

@id("eu")
permit(principal, action, resource)
when { context has subject_region && (["fr", "de"].contains(context.subject_region) || principal.tier > 3) };

@id("no-us") forbid(principal in Jurisdiction::"US", action, resource);
@id("push") permit(principal, action == Action::"push", resource);
"""
KEY = ResourceKey(kind="Model", name="ngram", node="gpu-1.berlin")
FACTS = ResourceFacts(key=KEY, groups=frozenset(), owner="", max_class=2, site="berlin", jurisdiction="DE")
REQUEST = Request(
    principal=Principal(
        node="edge-1.paris",
        site="paris",
        jurisdiction="FR",
        tier=2,
        groups=frozenset({"clinical"}),
        purposes=frozenset({"care"}),
        regions=frozenset(),
        class_floor=0,
        class_ceiling=3,
    ),
    action="chat",
    resource=KEY,
    purpose="care",
    data_class=3,
    subject_region=None,
    protocol="openai",
    method="POST",
    path="/v1/chat/completions",
    stream=False,
)


def test_every_clause_shows_its_text_and_value() -> None:
    found = explain(parse.load({"f": SOURCE}), [FACTS], REQUEST)
    assert found.decision.code is Code.NO_PERMIT
    assert {trace.id: trace.clauses for trace in found.traces} == {
        "care": (
            ClauseValue('principal in Group::"clinical"', True),
            ClauseValue("resource is Model", True),
            ClauseValue('context.purpose == "care"', True),
            ClauseValue("context.data_class <= resource.max_class", False),
            ClauseValue("unless context.stream", True),
        ),
        "eu": (
            ClauseValue("context has subject_region", False),
            ClauseValue('["fr", "de"].contains(context.subject_region) || (principal.tier > 3)', None),
        ),
        "no-us": (ClauseValue('principal in Jurisdiction::"US"', False),),
    }


def test_the_nearest_permit_is_the_one_with_the_fewest_failing_clauses() -> None:
    nearest = explain(parse.load({"f": SOURCE}), [FACTS], REQUEST).nearest
    assert nearest is not None
    assert (nearest.id, nearest.line) == ("care", 2)
    assert nearest.failing == (ClauseValue("context.data_class <= resource.max_class", False),)


def test_what_decided_comes_first() -> None:
    policies = parse.load({"f": SOURCE})
    allowed = explain(policies, [FACTS], dataclasses.replace(REQUEST, subject_region="fr"))
    assert (allowed.decision.code, allowed.decision.because) == (None, ("eu",))
    assert (allowed.traces[0].id, allowed.traces[0].matches, allowed.nearest) == ("eu", True, None)
    american = dataclasses.replace(REQUEST.principal, jurisdiction="US")
    denied = explain(policies, [FACTS], dataclasses.replace(REQUEST, principal=american, data_class=1))
    assert (denied.decision.code, denied.decision.because) == (Code.FORBIDDEN, ("no-us",))
    assert [(trace.id, trace.matches) for trace in denied.traces] == [
        ("no-us", True),
        ("care", True),
        ("eu", False),
    ]


def test_an_undeclared_resource_needs_no_policy_to_be_denied() -> None:
    found = explain(parse.load({"f": SOURCE}), [], REQUEST)
    assert (found.decision.code, found.traces, found.nearest) == (Code.UNKNOWN_RESOURCE, (), None)


def test_every_construct_has_a_text() -> None:
    condition = (
        'if !(principal.site like "a\\*b*") then context has purpose else principal is Node && '
        '["a"].containsAll(["\\"b\\u{7}"]) == (true || -1 >= principal.tier) && resource in [Site::"x"]'
    )
    source = f'@id("a") permit(principal, action, resource) when {{ {condition} }};'
    found = explain(parse.load({"f": source}), [FACTS], REQUEST)
    assert found.traces[0].clauses[0].text == (
        'if !(principal.site like "a\\*b*") then context has purpose else ((principal is Node) && '
        '(["a"].containsAll(["\\"b\\u{7}"]) == (true || (-1 >= principal.tier)))) && (resource in [Site::"x"])'
    )
