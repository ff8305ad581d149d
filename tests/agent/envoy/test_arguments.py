"""Arguments of tools through real sidecars, to a server that says what it received: read as it reads them, or denied."""

import json
from collections.abc import Iterator

import captured
import pytest
from calls import READ, REFUSED, WANTED, call
from pki import CLINICAL
from sidecar import CALLEE, Running, Sidecar

from agent.envoy import accesslog
from policies.arguments import Arguments
from policies.model import Code, ResourceKey
from policies.requests import classify

TOOLS = ("search", "add", "other")
KEYS = (
    *(ResourceKey("Tool", name, CALLEE) for name in TOOLS),
    ResourceKey("Service", "mcp", CALLEE),
)
POLICY = """
@id("within-data") permit (principal, action == Action::"tool", resource) when {
  resource.name == "search" && context.arguments.hasTag("path") && context.arguments.getTag("path") like "/data/*"
};
@id("never-all") forbid (principal, action == Action::"tool", resource) when {
  resource.name == "search" && context.arguments.hasTag("maxSize") && context.arguments.getTag("maxSize") == "all"
};
@id("plain-add") permit (principal, action == Action::"tool", resource) when {
  resource.name == "add" && !context.arguments.hasTag("unit")
};
@id("other") permit (principal, action == Action::"tool", resource) when { resource.name == "other" };
@id("services") permit (principal, action, resource is Service);
"""
HEADERS = [("content-type", "application/json")]


@pytest.fixture(scope="module")
def both() -> Iterator[Sidecar]:
    """One sidecar that is its own peer: what it sends is decided at both ends."""
    with Running(policy=POLICY, resources=KEYS, attributes=CLINICAL, loop=True) as made:
        yield made


def expected(body: bytes) -> str:
    """What must become of a call of `search`: the code of its denial, empty where it is allowed."""
    found = classify("POST", "/mcp", body, dict(HEADERS), WANTED)
    if found.arguments is None:
        return Code.UNREADABLE_BODY.value
    if found.arguments.get("maxSize") == "all":
        return Code.FORBIDDEN.value
    path = found.arguments.get("path")
    return "" if path is not None and path.startswith("/data/") else Code.NO_PERMIT.value


CORPUS = {**{what: body for what, (body, _) in READ.items()}, **REFUSED}


@pytest.mark.parametrize("what", CORPUS)
def test_the_callee_alone_decides_on_what_the_server_reads(both: Sidecar, what: str) -> None:
    """A hostile caller has no sidecar that would stop it."""
    body, before = CORPUS[what], len(both.backend.seen)
    answer = both.ask(path="/mcp", body=body, headers=HEADERS)
    assert answer.code == expected(body)
    reached = both.backend.seen[before:]
    assert len(reached) == (not answer.code)
    for seen in reached:
        assert json.loads(seen["body"])["params"]["arguments"]["path"].startswith("/data/")


@pytest.mark.parametrize("what", CORPUS)
def test_the_caller_alone_stops_what_may_not_leave(both: Sidecar, what: str) -> None:
    body = CORPUS[what]
    assert both.send(
        f"{CALLEE}.mesh", path="/mcp", body=body, headers=HEADERS, claims=False
    ).code == expected(body)


@pytest.mark.parametrize("size", ["all", "10"])
def test_a_forbid_on_an_argument_wins(both: Sidecar, size: str) -> None:
    body = call(f'{{"path":"/data/x","maxSize":"{size}"}}')
    answer = both.ask(path="/mcp", body=body, headers=HEADERS)
    assert answer.code == (Code.FORBIDDEN.value if size == "all" else "")


def test_what_filters_are_told_cannot_be_said_by_anybody_else(both: Sidecar) -> None:
    for told in ('"maxSize"path=/data/x"', '"path=/data/x"'):
        forged = [*HEADERS, ("writ-arguments", told)]
        for body, code in ((call('{"path":"/etc/x"}'), "no_permit"), (call("{}"), "no_permit")):
            assert both.ask(path="/mcp", body=body, headers=forged).code == code
    assert both.ask(path="/mcp", body=call("{}").replace(b"search", b"other"), headers=forged).allowed


def test_what_no_rule_asks_of_a_tool_is_not_read(both: Sidecar) -> None:
    body = call('{"path":1,"path":2,"maxSize":null}').replace(b'"search"', b'"other"')
    before = len(both.backend.seen)
    assert both.ask(path="/mcp", body=body, headers=HEADERS).allowed
    (seen,) = both.backend.seen[before:]
    assert "writ-arguments" not in seen["headers"]


def test_a_call_of_the_real_client_is_decided_by_its_arguments(both: Sidecar) -> None:
    """It calls `add` with two numbers: none is `unit`, and what is no string is no matter where nobody asks for it."""
    (real,) = {one.body for one in captured.load("mcp") if b'"add"' in one.body and b"2026" in one.body}
    for body, code in (
        (real, ""),
        (real.replace(b'"a":1', b'"unit":"km"'), "no_permit"),
        (real.replace(b'"a":1', b'"unit":1'), "unreadable_body"),
        (real.replace(b'"a":1', b'"Unit":"km"'), "unreadable_body"),
    ):
        found = classify("POST", "/mcp", body, dict(HEADERS), {"add": frozenset({"unit"})})
        assert (found.arguments == Arguments((), frozenset({"unit"}))) is (code == "")
        assert both.ask(path="/mcp", body=body, headers=HEADERS).code == code


def test_what_is_logged_of_a_call_that_ended_holds_no_argument() -> None:
    """Records are made of these lines. Only while a stream is open the agent is told, to decide it again."""
    ended, still_open = accesslog.logs("x", "in")
    assert "arguments" not in json.dumps(ended)
    assert "writ-arguments" in json.dumps(still_open)
