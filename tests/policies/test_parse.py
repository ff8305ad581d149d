"""Policies are read whole or refused with file, line and a stable code."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from policies import parse, sources
from policies.errors import PolicyError
from policies.model import ACTION_GROUPS, ACTIONS, Effect
from policies.syntax import Attr, Call, Clause, Entity, IsKind, Lit, Matches, Policy, Var

ANY = "permit(principal, action, resource);"


def refusals(files: dict[str, str | bytes]) -> list[tuple[str, str, int, str]]:
    with pytest.raises(PolicyError) as caught:
        parse.load(files)
    return [(item.code, item.file, item.line, item.policy) for item in caught.value.findings]


def test_a_policy_keeps_its_place_and_its_words() -> None:
    source = (
        '// a comment; with "quotes\n\n@id("eu.only-1")\n@reason("why; not")\n@severity("high")\n'
        'permit (principal in Group::"clinical", action in [Action::"infer", Action::"embed"],\n'
        '  resource is Model in ModelGroup::"m")\n'
        'when { context.path like "a;\\*b**" }\nunless { context.stream };'
    )
    (policy,) = parse.load({"a.cedar": source})
    principal, resource = Var("principal"), Var("resource")
    assert policy == Policy(
        id="eu.only-1",
        effect=Effect.PERMIT,
        actions=frozenset({*ACTION_GROUPS["infer"], "embed"}),
        any_action=False,
        principal=Call("in", (principal, Entity("Group", "clinical"))),
        resource=Call("and", (IsKind(resource, "Model"), Call("in", (resource, Entity("ModelGroup", "m"))))),
        clauses=(
            Clause(Matches(Attr(Var("context"), "path"), ("a;*b", "")), negated=False),
            Clause(Attr(Var("context"), "stream"), negated=True),
        ),
        reason="why; not",
        severity="high",
        file="a.cedar",
        line=3,
        source=source[source.index("@id") :],
    )


@pytest.mark.parametrize(
    ("scope", "actions"),
    [
        ("action", ACTIONS),
        ('action == Action::"chat"', {"chat"}),
        ('action in Action::"embed"', {"embed"}),
        ('action in Action::"federate"', {"join", "fl-push", "fl-pull"}),
        ('action in [Action::"transfer", Action::"chat"]', {"push", "pull", "chat"}),
    ],
)
def test_action_groups_stand_for_their_members(scope: str, actions: set[str]) -> None:
    (policy,) = parse.load({"a": f'@id("a") permit(principal, {scope}, resource);'})
    assert policy.actions == actions


def test_files_are_read_in_the_order_of_their_names() -> None:
    found = parse.load({"b": f'@id("1") {ANY}\n@id("2") {ANY}', "a": f'@id("3") {ANY}', "c": "// nothing"})
    assert [(policy.id, policy.file, policy.line) for policy in found] == [
        ("3", "a", 1),
        ("1", "b", 1),
        ("2", "b", 2),
    ]


def test_every_action_of_the_model_is_in_the_schema() -> None:
    names = sorted({*ACTIONS, *ACTION_GROUPS})
    text = "\n".join(
        f'@id("p{i}") permit(principal, action in Action::"{n}", resource);' for i, n in enumerate(names)
    )
    assert len(parse.load({"a": text})) == len(names)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (ANY, [("W-ID", "f", 1, "")]),
        (f'@id("") {ANY}', [("W-ID", "f", 1, "")]),
        (f'@id("Upper") {ANY}', [("W-ID", "f", 1, "")]),
        (f'@id("-a") {ANY}', [("W-ID", "f", 1, "")]),
        (f'@id("{"a" * 65}") {ANY}', [("W-ID", "f", 1, "")]),
        (f'\n@id("a") {ANY}\n@id("a") {ANY}', [("W-ID", "f", 3, "a")]),
        (f'@id("a") @advice("x") {ANY}', [("W-ANNOTATION", "f", 1, "a")]),
        (f'@id("a") @reason("x\\ny") {ANY}', [("W-ANNOTATION", "f", 1, "a")]),
        (f'@id("a") @reason("{"x" * 513}") {ANY}', [("W-ANNOTATION", "f", 1, "a")]),
        (f'@id("a") @severity("odd") {ANY}', [("W-ANNOTATION", "f", 1, "a")]),
        ('@id("a") permit(principal == ?principal, action, resource);', [("W-TEMPLATE", "f", 1, "a")]),
        (f'@id("a") {ANY[:-1]}', [("W-SYNTAX", "f", 1, "")]),
        (f'@id("a") {ANY};', [("W-SYNTAX", "f", 1, "")]),
        ('@id("a") permit(principal, action, resource) when { "', [("W-SYNTAX", "f", 1, "")]),
        (f'@id("a") {ANY}\n\npermit(principal,\n action resource);', [("W-SYNTAX", "f", 4, "")]),
        (b"\n\xff", [("W-ENCODING", "f", 2, "")]),
        ("\ud800", [("W-ENCODING", "f", 1, "")]),
        ("\ufeff" + ANY, [("W-SYNTAX", "f", 1, "")]),
        ("//" + "x" * 2**20, [("W-SIZE", "f", 1, "")]),
    ],
)
def test_what_is_not_a_policy_is_refused_with_its_line(
    source: str | bytes, expected: list[tuple[str, str, int, str]]
) -> None:
    assert refusals({"f": source}) == expected


@pytest.mark.parametrize(
    "condition",
    [
        'context.subject_region == "fr"',
        "principal.nothing == 1",
        "principal.site == 1",
        "resource is Robot",
        'action == Action::"fly"',
        "principal.tier",
        "1 + true == 2",
        'context has subject_region || context.subject_region == "x"',
        "[] == [1]",
        'principal in [Site::"a", Group::"b"]',
    ],
)
def test_what_the_schema_does_not_allow_is_refused(condition: str) -> None:
    source = f'@id("ok") {ANY}\n@id("a")\npermit(principal, action, resource)\nwhen {{ {condition} }};'
    ((code, _, line, policy),) = refusals({"f": source})
    assert (code, policy) == ("W-SCHEMA", "a")
    assert line in {2, 4}


def test_a_group_of_actions_is_not_an_action() -> None:
    found = refusals({"f": '@id("a") permit(principal, action == Action::"infer", resource);'})
    assert found == [("W-SCHEMA", "f", 1, "a")]


def test_every_fault_is_told_at_once() -> None:
    found = refusals({"b": ANY, "a": f'@id("a") @x("") {ANY}\n@id("B") {ANY}', "c": f'@id("c") {ANY}'})
    assert [(code, file, line) for code, file, line, _ in found] == [
        ("W-ANNOTATION", "a", 1),
        ("W-ID", "a", 2),
        ("W-ID", "b", 1),
    ]


def test_a_carriage_return_hides_no_policy() -> None:
    # Cedar ends a comment at either line ending; a reader that did not would lose this forbid.
    (policy,) = parse.load({"f": '// comment\r@id("a") forbid(principal, action, resource);'})
    assert policy.effect is Effect.FORBID


@pytest.mark.parametrize("blank", ["\x1c", "\x1f"])
def test_what_cedar_does_not_skip_is_not_skipped_between_policies(blank: str) -> None:
    assert refusals({"f": f'@id("a") {ANY}\n{blank}@id("b") {ANY}'}) == [("W-SYNTAX", "f", 2, "")]


def test_faults_far_apart_are_told_with_their_lines_whoever_validates() -> None:
    lines = [f'@id("p{number}") {ANY}' for number in range(2_600)]
    for number in (0, 999, 1_000, 2_599):
        lines[number] = lines[number].replace("resource)", "resource is Robot)")
    files = {"a": "\n".join(lines[:1_500]), "b": "\n".join(lines[1_500:])}
    expected = [("a", 1, "p0"), ("a", 1000, "p999"), ("a", 1001, "p1000"), ("b", 1100, "p2599")]
    with ThreadPoolExecutor(1) as pool:
        for beside in (map, pool.map):
            with pytest.raises(PolicyError) as caught:
                parse.load(files, beside)
            assert [(item.file, item.line, item.policy) for item in caught.value.findings] == expected
    files["a"] = files["a"].replace("principal, action", "principal action", 1)
    files["b"] = files["b"].replace(f"{ANY}\n", "permit(principal);\n")
    assert {code for code, *_ in refusals(files)} == {"W-SYNTAX"}
    assert len(refusals(files)) == 1 + 1_099


def test_policies_are_the_same_whoever_validates_them() -> None:
    files = {"a": "\n".join(f'@id("p{number}") {ANY}' for number in range(2_100))}
    with ThreadPoolExecutor(1) as pool:
        assert parse.load(files, pool.map) == parse.load(files)


def test_more_policies_than_anybody_reads_are_refused_before_any_is_read() -> None:
    wrong = "\n".join("permit(principal);" for _ in range(9_000))
    found = refusals({**{f"f{number:02}": wrong for number in range(12)}, "a": ANY})
    assert found == [("W-COUNT", "f01", 1_000, "")]


def test_the_number_of_policies_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_POLICIES", 2)
    source = "\n".join(f'@id("p{number}") {ANY}' for number in range(3))
    assert refusals({"f": source}) == [("W-COUNT", "f", 3, "")]


def test_a_negative_number_is_a_literal() -> None:
    (policy,) = parse.load(
        {"f": '@id("a") permit(principal, action, resource) when { principal.tier > -1 };'}
    )
    assert policy.clauses[0].node == Call("greater", (Attr(Var("principal"), "tier"), Lit(-1)))
