"""Arguments of tools: what is read of a call, what policies may ask, and what is asked of whom."""

from dataclasses import asdict, replace

import pytest
from calls import READ, REFUSED, WANTED, call
from recorded import record

from policies import asking, cases, codec, parse
from policies.arguments import MAX_NAMES, MAX_VALUE, Argument, Arguments, of
from policies.compile import compile_ingress
from policies.diff import GAINS, diff
from policies.documents import RulesBlob
from policies.errors import ContentError, InputError, PolicyError
from policies.evaluate import Evaluator
from policies.expressions import load_expr
from policies.model import Code, Rules
from policies.recorded import read as recorded_as
from policies.requests import classify
from policies.simulate import UNKEPT, simulate
from policies.space import request as some_request

NODE = "spiffe://acme.example/{}"
JSON = {"content-type": "application/json"}
TOOL = '@id("a") permit (principal, action == Action::"tool", resource) when {{ {} }};'
HAS, GOT = 'context.arguments.hasTag("path")', 'context.arguments.getTag("path")'


@pytest.mark.parametrize("what", READ)
def test_what_a_call_says_in_one_way_is_read(what: str) -> None:
    body, given = READ[what]
    found = classify("POST", "/mcp", body, JSON, WANTED)
    assert (found.name, found.body) == ("search", "read")
    assert found.arguments == Arguments(tuple(sorted(given.items())), WANTED["search"])


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_server_could_read_otherwise_is_not_read(what: str) -> None:
    found = classify("POST", "/mcp", REFUSED[what], JSON, WANTED)
    assert (found.name, found.body, found.arguments) == (None, "unread", None)


def test_what_no_rule_asks_for_is_not_looked_at() -> None:
    found = classify("POST", "/mcp", call('{"path":1,"path":2}'), JSON, {"other": frozenset({"path"})})
    assert (found.name, found.arguments) == ("search", None)


def test_of_two_names_that_differ_by_case_neither_may_be_there() -> None:
    wanted = {"search": frozenset({"path", "Path"})}
    assert classify("POST", "/mcp", call('{"path":"x"}'), JSON, wanted).name is None
    assert classify("POST", "/mcp", call("{}"), JSON, wanted).name == "search"


# --- what is refused when a policy is applied ------------------------------------------------------------------------

REFUSALS = {
    "context.arguments.hasTag(context.purpose)": "`hasTag` takes a literal",
    'context.arguments.hasTag("a b")': "`hasTag` takes a literal",
    f'context.arguments.hasTag("{"x" * 33}")': "`hasTag` takes a literal",
    f"{HAS} && {GOT} == context.purpose": "compares arguments of a tool with literals only",
    f"{HAS} && {GOT} == {GOT}": "compares arguments of a tool with literals only",
    "context.arguments == context.arguments": "compares arguments of a tool with literals only",
    f"{HAS} && principal.purposes.contains({GOT})": "set and element are both only known",
    "context has arguments": "there for `tool` alone",
    f'{HAS} && {GOT} like "*a*b*c*d*e*"': "at most 5 wildcards",
    f'{HAS} && {GOT} like "*{"x" * 49}"': "at most 5 wildcards and 48 characters",
}


@pytest.mark.parametrize("condition", REFUSALS)
def test_what_cannot_be_enforced_is_refused_with_its_line(condition: str) -> None:
    text = "// first\n" + TOOL.replace(" when", "\nwhen").format(condition)
    with pytest.raises(PolicyError) as caught:
        parse.load({"p.cedar": text})
    (finding,) = caught.value.findings
    assert (finding.code, finding.file, finding.line) == ("W-UNSUPPORTED", "p.cedar", 3)
    assert REFUSALS[condition] in finding.message


@pytest.mark.parametrize(
    "text",
    [
        TOOL.format(f'{GOT} == "x"'),
        TOOL.format(f'!{HAS} || {GOT} == "x"'),
        TOOL.format(f"{HAS} && {GOT} > 1"),
        TOOL.replace("tool", "chat").format(HAS),
        TOOL.replace('== Action::"tool"', "").format(HAS),
    ],
)
def test_what_cedar_itself_refuses_of_arguments(text: str) -> None:
    with pytest.raises(PolicyError, match="W-SCHEMA"):
        parse.load({"p": text})


def test_all_policies_together_ask_for_so_many_and_for_no_two_that_differ_by_case() -> None:
    names = [f"a{number}" for number in range(MAX_NAMES)]
    policies = [
        TOOL.format(f'context.arguments.hasTag("{name}")').replace('"a"', f'"p{name}"', 1) for name in names
    ]
    assert parse.load({"p": "\n".join(policies)})
    more = TOOL.format('context.arguments.hasTag("one-more")')
    with pytest.raises(PolicyError, match=f"more than {MAX_NAMES} arguments"):
        parse.load({"p": "\n".join([*policies, more])})
    with pytest.raises(PolicyError, match="arguments `a0` and `A0`: no call may name either"):
        parse.load({"p": "\n".join([*policies, TOOL.format('context.arguments.hasTag("A0")')])})


# --- rules -----------------------------------------------------------------------------------------------------------

WORLD = {
    "nodes": [
        {"node": "desk.paris", "jurisdiction": "FR", "purposes": ["care"]},
        {"node": "gpu.berlin", "jurisdiction": "DE"},
    ],
    "resources": [{"resource": "Tool/search@gpu.berlin"}, {"resource": "Tool/other@gpu.berlin"}],
}
ASKED = {"from": "desk.paris", "action": "tool", "resource": "Tool/search@gpu.berlin"}


def rules(condition: str) -> Rules:
    mesh = cases.load({**WORLD, "cases": [{"name": "x", "request": ASKED, "expect": "deny"}]}).mesh
    assert mesh is not None
    return compile_ingress(parse.load({"p": TOOL.format(condition)}), mesh.resources)


def test_rules_travel_whole_and_say_what_is_to_be_read() -> None:
    made = rules(f'resource.name == "search" && {HAS} && ({GOT} == "x" || {GOT} like "/data/*")')
    blob = RulesBlob(ingress=made, egress=made, served=())
    assert codec.load_rules(codec.dump_rules(blob)) == blob
    assert asking.wanted(made) == {"search": {"path"}}


@pytest.mark.parametrize(
    "leaf",
    [
        ["argument", "a b", ["x"]],
        ["argument", "path", []],
        ["argument", "path", ['x"maxSize=1']],
        ["argument", "path", ["é"]],
        ["argument", "path", ["x" * (MAX_VALUE + 1)]],
        ["argument", "path", ["", "x" * 49]],
        ["argument", "path", ["x"] * 7],
        ["argument", "path", "x"],
        ["argument", 1, ["x"]],
    ],
)
def test_rules_that_no_compiler_makes_are_not_loaded(leaf: object) -> None:
    with pytest.raises(ContentError):
        load_expr(leaf)


def test_what_no_argument_can_be_is_never_met() -> None:
    assert not rules(f'{HAS} && {GOT} == "é"').rules
    (rule,) = rules(f'{HAS} && {GOT} != "é"').rules
    assert rule.when == Argument("path", ("", ""))


def test_arguments_that_are_not_known_deny() -> None:
    made = rules(f"!{HAS}")
    (key,) = [key for key in made.resources if key.name == "search"]
    caller = cases.load({**WORLD, "cases": [{"name": "x", "request": ASKED, "expect": "deny"}]}).mesh
    assert caller is not None
    asked = some_request(caller.nodes[0], "tool", key, {})
    decide = Evaluator(made).decide
    assert decide(asked).allowed
    for unknown in (None, Arguments((), frozenset()), Arguments((), frozenset({"mode"}))):
        assert decide(replace(asked, arguments=unknown)).code is Code.UNEVALUABLE
    assert decide(replace(asked, arguments=of({"path": ""}))).code is Code.NO_PERMIT


def test_cases_give_arguments() -> None:
    document = {
        **WORLD,
        "cases": [
            {"name": "in", "request": {**ASKED, "arguments": {"path": "/data/x"}}, "expect": "allow"},
            {"name": "out", "request": {**ASKED, "arguments": {"path": "/etc/x"}}, "expect": "deny"},
            {"name": "none", "request": ASKED, "expect": "deny", "code": "no_permit"},
        ],
    }
    read = cases.load(document)
    assert read.mesh is not None
    policies = parse.load({"p": TOOL.format(f'{HAS} && {GOT} like "/data/*"')})
    assert cases.run(policies, read.mesh, read.cases).failed == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arguments": {"path": 1}}, "must be a string"),
        ({"arguments": {"path": 'a"b'}}, "does not match"),
        ({"arguments": {"a b": "x"}}, "does not match"),
        ({"arguments": ["path"]}, "must be a mapping"),
        ({"arguments": {"path": "x"}, "action": "discover"}, "`discover` has none"),
    ],
)
def test_arguments_of_a_case_that_cannot_be_are_one_clear_error(
    change: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        cases.asked({**ASKED, **change}, "request")


# --- questions about policies ----------------------------------------------------------------------------------------


def test_a_diff_shows_calls_that_tell_two_sets_apart() -> None:
    mesh = cases.load({**WORLD, "cases": [{"name": "x", "request": ASKED, "expect": "deny"}]}).mesh
    assert mesh is not None
    narrow = parse.load({"p": TOOL.format(f'{HAS} && {GOT} like "/data/*"')})
    wide = parse.load({"p": TOOL.format(f'{HAS} && {GOT} like "/*"')})
    (gain,) = diff(narrow, wide, mesh)
    assert gain.what == GAINS
    assert gain.example.arguments is not None
    path = gain.example.arguments.get("path")
    assert path is not None
    assert path.startswith("/")
    assert not path.startswith("/data/")
    assert (gain.before.allowed, gain.after.allowed) == (False, True)
    same = parse.load({"p": TOOL.format(f'({HAS} && {GOT} == "/") || ({HAS} && {GOT} like "/*")')})
    assert diff(wide, same, mesh) == []
    assert diff(parse.load({"p": TOOL.format(f"!{HAS}")}), narrow, mesh)[0].example.arguments is not None


def test_what_records_do_not_keep_is_not_replayed() -> None:
    mesh = cases.load({**WORLD, "cases": [{"name": "x", "request": ASKED, "expect": "deny"}]}).mesh
    assert mesh is not None
    called = {"action": "tool", "protocol": "mcp", "path": "/mcp", "claimed_purpose": "care"}
    rows = [record(resource=f"Tool/{tool}", claimed_data_class="0", **called) for tool in ("search", "other")]
    rows = [
        replace(row, node=NODE.format("fr/paris/desk"), peer=NODE.format("de/berlin/gpu")) for row in rows
    ]
    read = [one for row in rows if (one := recorded_as(asdict(row), "here")) is not None]
    policies = parse.load(
        {
            "p": TOOL.format(f'resource.name == "search" && {HAS}'),
            "q": TOOL.format('resource.name == "other"').replace('"a"', '"q"', 1),
        }
    )
    found = simulate(policies, mesh, read)
    assert (found.records, found.same, dict(found.skipped)) == (2, 1, {UNKEPT: 1})
