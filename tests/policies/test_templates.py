"""A link is its template with the slots filled: a policy like any other, or refused by name."""

import json
from typing import Any

import pytest

from policies import lexer, parse
from policies.errors import PolicyError
from policies.syntax import Call, Entity, Var

TEMPLATE = (
    '// ?principal in a comment\n@id("use")\n@reason("ask ?principal")\n'
    'permit (principal in ?principal, action in Action::"infer", resource in ?resource)\n'
    'when { context.path != "?resource" };'
)
CLINICAL = {"type": "Group", "id": "clinical"}
MODELS = {"type": "ModelGroup", "id": "m\\"}


def link(**changes: Any) -> dict[str, Any]:
    good = {"templateId": "use", "newId": "use-1", "values": {"?principal": CLINICAL, "?resource": MODELS}}
    return {**good, **changes}


def links(*some: dict[str, Any]) -> str:
    return json.dumps({"templateLinks": list(some)}, indent=1)


def refusals(
    *some: dict[str, Any], text: str | None = None, template: str = TEMPLATE
) -> list[tuple[str, str, int]]:
    with pytest.raises(PolicyError) as caught:
        parse.load({"t.cedar": template, "u.links.json": text if text is not None else links(*some)})
    return [(item.code, item.file, item.line) for item in caught.value.findings]


def test_every_link_makes_a_policy() -> None:
    other = link(newId="use-2", values={"?principal": {"type": "Site", "id": "paris"}, "?resource": MODELS})
    first, second = parse.load({"t.cedar": TEMPLATE, "u.links.json": links(link(), other)})
    assert (first.id, first.file, first.line, first.reason) == ("use-1", "t.cedar", 2, "ask ?principal")
    assert first.principal == Call("in", (Var("principal"), Entity("Group", "clinical")))
    assert first.resource == Call("in", (Var("resource"), Entity("ModelGroup", "m\\")))
    assert (second.id, second.principal) == ("use-2", Call("in", (Var("principal"), Entity("Site", "paris"))))
    assert first.clauses == second.clauses


def test_strings_and_comments_are_left_as_they_are() -> None:
    filled = lexer.replaced(TEMPLATE, {"?principal": 'Group::"x"', "?resource": 'Model::"y"'}, '"new"')
    assert filled == TEMPLATE.replace('@id("use")', '@id("new")').replace(
        "in ?principal,", 'in Group::"x",'
    ).replace("in ?resource)", 'in Model::"y")')


@pytest.mark.parametrize(
    ("some", "expected"),
    [
        ([], [("W-TEMPLATE", "t.cedar", 2)]),
        ([link(), link(templateId="other", newId="o")], [("W-TEMPLATE", "u.links.json", 19)]),
        ([link(values={"?principal": CLINICAL})], [("W-TEMPLATE", "u.links.json", 5)]),
        ([link(newId="use-1"), link()], [("W-ID", "t.cedar", 2)]),
        ([link(newId="Upper")], [("W-ID", "t.cedar", 2)]),
        ([link(newId='a") @reason("x')], [("W-ID", "t.cedar", 2)]),
        ([link(values={"?principal": MODELS, "?resource": MODELS})], [("W-SCHEMA", "t.cedar", 2)]),
        ([link(values={"?action": MODELS})], [("W-TEMPLATE", "u.links.json", 1)]),
        ([link(values={"?principal": {"type": 'G"', "id": ""}})], [("W-TEMPLATE", "u.links.json", 1)]),
        ([link(extra=1)], [("W-TEMPLATE", "u.links.json", 1)]),
    ],
)
def test_a_link_that_does_not_fit_is_refused(
    some: list[dict[str, Any]], expected: list[tuple[str, str, int]]
) -> None:
    assert refusals(*some) == expected


@pytest.mark.parametrize(
    "text",
    ["", "[]", '{"templateLinks": 1}', '{"templateLinks": [], "templateLinks": []}', "[" * 100_000, "{\n}x"],
)
def test_what_is_no_file_of_links_is_refused(text: str) -> None:
    ((code, file, _),) = refusals(text=text)
    assert (code, file) == ("W-TEMPLATE", "u.links.json")


def test_an_entity_cannot_break_out_of_its_string() -> None:
    evil = {"type": "Group", "id": 'x", action, resource); permit (principal in Group::"y'}
    (policy,) = parse.load(
        {"t.cedar": TEMPLATE, "u.links.json": links(link(values={"?principal": evil, "?resource": MODELS}))}
    )
    assert policy.principal == Call("in", (Var("principal"), Entity("Group", evil["id"])))


def test_two_templates_of_one_id_are_refused() -> None:
    assert ("W-ID", "t.cedar", 7) in refusals(
        link(), template=f"{TEMPLATE}\n\n{TEMPLATE}".replace("\n\n", "\n")
    )
