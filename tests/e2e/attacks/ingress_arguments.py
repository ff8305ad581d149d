"""Arguments of a tool that a server reads otherwise than we do, or that were not looked for: invariants 1 and 6."""

import pytest
from attacks import mutants
from attacks.control import Attack, Control
from attacks.ingress import ask
from calls import call
from sidecar import CALLEE

from agent.envoy import authorize
from policies import asking
from policies.model import ResourceKey

CHANGES = {
    "policy": """
@id("not-etc") forbid (principal, action == Action::"tool", resource)
when { context.arguments.hasTag("path") && context.arguments.getTag("path") like "/etc/*" };
@id("all") permit (principal, action, resource);
""",
    "resources": (ResourceKey("Tool", "search", CALLEE),),
}


def tool(arguments: str, *, behind: str = "") -> Attack:
    return ask(path="/mcp", body=call(arguments, behind=behind))


def nothing_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Routes that lag behind the rules."""
    monkeypatch.setattr(asking, "wanted", lambda _: {})


CONTROLS = (
    Control(
        1,
        "arguments: one of each name",
        [
            ("the forbidden first", tool('{"path":"/etc/x","path":"/data/x"}')),
            ("the forbidden last", tool('{"path":"/data/x","path":"/etc/x"}')),
            ("two sets of arguments", tool('{"path":"/etc/x"}', behind=',"arguments":{"path":"/data/x"}')),
        ],
        mutants.script(
            "if key ~= spelled or found[key] then return nil end", "if key ~= spelled then return nil end"
        ),
        CHANGES,
    ),
    Control(
        1,
        "arguments: no second spelling of a name",
        [
            ("an escaped name", tool('{"\\u0070ath":"/etc/x"}')),
            ("an escaped name beside", tool('{"path":"/data/x","p\\u0061th":"/etc/x"}')),
        ],
        mutants.script("if not key then return nil end", 'key = key or "x"'),
        CHANGES,
    ),
    Control(
        1,
        "arguments: no name that folds into a wanted one",
        [
            ("upper case", tool('{"PATH":"/etc/x"}')),
            ("upper case beside", tool('{"path":"/data/x","Path":"/etc/x"}')),
        ],
        mutants.script("local spelled = wanted[lower(key)]", "local spelled = wanted[key]"),
        CHANGES,
    ),
    Control(
        1,
        "arguments: plain strings",
        [
            ("a list", tool('{"path":["/etc/x"]}')),
            ("an escaped value", tool('{"path":"\\/etc\\/x"}')),
            ("an object", tool('{"path":{"toString":"/etc/x"}}')),
        ],
        mutants.script("if not text or #text > MAX_VALUE then return nil end", 'text = text or ""'),
        CHANGES,
    ),
    Control(
        6,
        "arguments: rules wait until they were looked for",
        [("a forbid over an argument that nobody read", tool('{"path":"/etc/x"}'))],
        mutants.code(authorize, "_told", "inputs.arguments(rule.when for rule in rules)", "[]"),
        CHANGES,
        given=nothing_looked_for,
    ),
)
