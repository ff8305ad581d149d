"""Patterns mean what they say, and a forbid is never in the shadow of a permit, however many stand around it."""

import itertools
from collections import Counter
from collections.abc import Iterator

import pytest
from bypass.wire import http1
from sidecar import CALLEE, Running, Sidecar

from policies.errors import PolicyError
from policies.model import ResourceKey

KEYS = (ResourceKey("Service", "http", CALLEE),)
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    made = Running(resources=KEYS)
    with made:
        yield made


def allowed(running: Running, policy: str, *paths: str) -> list[bool]:
    running.run(running.enforce(policy=policy, resources=KEYS))
    sidecar: Sidecar = running.sidecar
    return [http1(sidecar, path).allowed for path in paths]


def permit(when: str, name: str = "p") -> str:
    return f'@id("{name}") permit (principal, action, resource is Service) when {{ {when} }};'


@pytest.mark.parametrize(
    ("when", "through", "stopped"),
    [
        ('context.path like "/a.b/*"', ["/a.b/x", "/a.b/"], ["/axb/x", "/a.b", "/a.bc/x"]),
        ('context.path like "*.json"', ["/x.json", "/a/b.json"], ["/xjson", "/x.json/y", "/x.jsonx"]),
        ('context.path like "/a*b"', ["/ab", "/a/x/b"], ["/ab/c", "/xab", "/a"]),
        ('context.path like "/a[b]"', ["/a[b]"], ["/ab", "/a"]),
        ('context.path like "/a\\*"', ["/a*"], ["/ab", "/a"]),
        ('context.path like "/a$"', ["/a$"], ["/a"]),
        ('["/a", "/b"].contains(context.path)', ["/a", "/b"], ["/c", "/a/b", "/"]),
        ('context.path == ""', [], ["/", "/a"]),
        ('context.path == "/"', ["/", "/?x"], ["/a"]),
    ],
)
def test_a_pattern_means_what_it_says(
    running, outcomes: Counter[tuple[str, str]], when, through, stopped
) -> None:
    found = allowed(running, permit(when), *through, *stopped)
    assert found == [True] * len(through) + [False] * len(stopped)
    outcomes["wildcards 26", "denied"] += len(stopped)


@pytest.mark.parametrize(
    "policy",
    [
        '@id("p") permit (principal, action, resource) when { context.unknown == "x" };',
        '@id("p") permit (principal, action, resource) when { context.path == 1 };',
        '@id("p") permit (principal, action == Action::"everything", resource);',
        '@id("p") @allow("all") permit (principal, action, resource);',
    ],
)
def test_an_unknown_word_is_refused_and_what_holds_goes_on(running, policy) -> None:
    assert allowed(running, permit('context.path == "/a"'), "/a", "/b") == [True, False]
    with pytest.raises(PolicyError):
        running.run(running.enforce(policy=policy, resources=KEYS))
    assert [http1(running.sidecar, path).allowed for path in ("/a", "/b")] == [True, False]


FORBID = '@id("zz-no") forbid (principal, action, resource) when { context.path like "/admin*" };'
BROAD = permit("true", "a-all")
NARROW = permit('context.path like "/admin/x*"', "b-more")


@pytest.mark.parametrize("order", list(itertools.permutations([FORBID, BROAD, NARROW])))
def test_a_forbid_wins_in_every_order(running, outcomes: Counter[tuple[str, str]], order) -> None:
    assert allowed(running, "\n".join(order), "/admin", "/admin/x", "/open") == [False, False, True]
    outcomes["shadowing 27", "denied"] += 2


def test_a_forbid_wins_among_hundreds(running, outcomes: Counter[tuple[str, str]]) -> None:
    many = [permit(f'context.path like "/admin/{i}*"', f"p{i:03}") for i in range(150)]
    forbids = [
        f'@id("f{i}") forbid (principal, action, resource) when {{ context.path == "/no/{i}" }};'
        for i in range(80)
    ]
    policy = "\n".join([*many, *forbids, BROAD, FORBID])
    assert allowed(running, policy, "/admin/7", "/no/79", "/open") == [False, False, True]
    outcomes["shadowing 27", "denied"] += 2
