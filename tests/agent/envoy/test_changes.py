"""In how many steps one policy replaces another: none that could be left out, and none left out that keeps something shut."""

import pytest

from agent.envoy import authorize
from policies import compile as compiler
from policies import parse
from policies.documents import RulesBlob
from policies.model import Effect, ResourceKey, Rules

NOTHING = Rules(rules=(), resources=frozenset())
MODEL = compiler.ResourceFacts(
    key=ResourceKey("Model", "m", "gpu-1.berlin"),
    groups=frozenset(),
    owner="",
    max_class=4,
    site="berlin",
    jurisdiction="DE",
)
PERMIT = '@id("p") permit (principal in Group::"a", action in Action::"infer", resource);'
READS = '@id("p") permit (principal, action in Action::"infer", resource) when { context.purpose == "care" };'
FORBID = '@id("f") forbid (principal in Group::"b", action, resource);'
OTHER = '@id("f") forbid (principal in Group::"c", action, resource);'


def blob(*policies: str) -> RulesBlob:
    rules = compiler.compile_ingress(parse.load({"p.cedar": "\n".join(policies)}), [MODEL])
    return RulesBlob(ingress=rules, egress=NOTHING, served=())


@pytest.mark.parametrize(
    ("old", "new", "narrows", "widens"),
    [
        ([FORBID, PERMIT], [FORBID, PERMIT.replace('"a"', '"d"')], False, False),
        ([PERMIT], [FORBID, PERMIT], True, False),
        ([FORBID, PERMIT], [PERMIT], False, True),
        ([FORBID, PERMIT], [OTHER, PERMIT], True, True),
        ([FORBID, PERMIT], [FORBID, READS], True, False),  # what is read must be there from now on
        ([FORBID, READS], [FORBID, PERMIT], False, True),
    ],
    ids=["permits", "forbid added", "forbid removed", "forbid replaced", "reads more", "reads less"],
)
def test_a_change_narrows_and_widens_by_its_forbids_and_by_what_it_reads(old, new, narrows, widens) -> None:
    change = authorize.change(blob(*old), blob(*new), moved=False)
    assert (change.narrows, change.widens) == (narrows, widens)
    assert forbids(change.between) == forbids(blob(*old)) | forbids(blob(*new))


def forbids(one: RulesBlob) -> set[object]:
    return {rule for rule in one.ingress.rules if rule.effect is Effect.FORBID}


def test_what_cannot_be_told_is_changed_in_all_steps() -> None:
    """Peers that moved, or a change before it that ended half-way."""
    same = blob(FORBID, PERMIT)
    change = authorize.change(same, same, moved=True)
    assert (change.narrows, change.widens) == (True, True)
    assert set(change.between.ingress.rules) == set(same.ingress.rules)
