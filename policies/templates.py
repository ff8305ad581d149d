"""Templates and their links: `?principal` and `?resource` in a policy's scope, filled in by links.

Links stand in a file `NAME.links.json`, in the form of Cedar's JSON policy sets:
    {"templateLinks": [{"templateId": "…", "newId": "…", "values": {"?principal": {"type": "Group", "id": "…"}}}]}
A link is the template's text with its slots replaced and its own id: from there on a policy like any other. A template
that nothing links would enforce nothing, and is refused.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from policies import lexer
from policies.errors import Finding, PolicyError
from policies.render import quoted

SUFFIX = ".links.json"
SLOTS = ("?principal", "?resource")
_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Template:
    """As it stands in its file."""

    id: str
    file: str
    chunk: lexer.Chunk


@dataclass(frozen=True, slots=True)
class Link:
    """One policy to be made of a template. `values`: slot -> entity as Cedar writes it."""

    file: str
    line: int
    template: str
    id: str
    values: tuple[tuple[str, str], ...]


def read(file: str, text: str) -> list[Link]:
    """The links of a file; raises PolicyError."""
    try:
        document = json.loads(text, object_pairs_hook=_distinct)
        items = _keys(document, "templateLinks")["templateLinks"]
        if not isinstance(items, list):
            raise ValueError("`templateLinks` must be a list")
        return [_link(file, text, item) for item in items]
    except (ValueError, RecursionError) as exc:
        line = exc.lineno if isinstance(exc, json.JSONDecodeError) else 1
        raise PolicyError(_finding(file, line, "", str(exc) or "too deeply nested")) from exc


def fill(templates: Mapping[str, Template], links: list[Link]) -> Iterator[tuple[Link, Template, str]]:
    """(link, template, text of the policy that it makes); raises PolicyError with everything that is wrong."""
    findings = [*_misfits(templates, links)]
    linked = {link.template for link in links}
    findings += [
        _finding(
            one.file, one.chunk.line, one.id, "no link uses this template", f"link it in a `*{SUFFIX}` file"
        )
        for one in templates.values()
        if one.id not in linked
    ]
    if findings:
        raise PolicyError(*findings)
    for link in links:
        template = templates[link.template]
        yield link, template, lexer.replaced(template.chunk.text, dict(link.values), quoted(link.id))


def _misfits(templates: Mapping[str, Template], links: list[Link]) -> Iterator[Finding]:
    for link in links:
        template = templates.get(link.template)
        if template is None:
            yield _finding(link.file, link.line, link.id, f"there is no template `{link.template[:64]}`")
            continue
        slots, given = lexer.slots(template.chunk.text), {slot for slot, _ in link.values}
        if slots != given:
            yield _finding(
                link.file,
                link.line,
                link.id,
                f"template `{template.id}` has the slots {', '.join(sorted(slots))}, the link fills "
                f"{', '.join(sorted(given)) or 'none'}",
            )


def _link(file: str, text: str, item: object) -> Link:
    fields = _keys(item, "templateId", "newId", "values")
    template, id_, values = fields["templateId"], fields["newId"], fields["values"]
    if not isinstance(template, str) or not isinstance(id_, str) or not isinstance(values, dict):
        raise ValueError("a link names `templateId`, `newId` and `values`")
    at = text.find(json.dumps(id_, ensure_ascii=False))
    return Link(
        file=file,
        line=text.count("\n", 0, max(at, 0)) + 1,
        template=template,
        id=id_,
        values=tuple(sorted((_slot(slot), _entity(value)) for slot, value in values.items())),
    )


def _slot(name: str) -> str:
    if name not in SLOTS:
        raise ValueError(f"`{name[:32]}` is no slot; there are {' and '.join(SLOTS)}")
    return name


def _entity(value: object) -> str:
    fields = _keys(value, "type", "id")
    kind, id_ = fields["type"], fields["id"]
    if not isinstance(kind, str) or not isinstance(id_, str) or not _KIND.fullmatch(kind):
        raise ValueError("an entity is `type` and `id`")
    return f"{kind}::{quoted(id_)}"


def _keys(value: object, *keys: str) -> dict[str, object]:
    if not isinstance(value, dict) or value.keys() != set(keys):
        raise ValueError(f"expected an object with exactly {', '.join(f'`{key}`' for key in keys)}")
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _finding(file: str, line: int, policy: str, message: str, hint: str = "") -> Finding:
    return Finding(code="W-TEMPLATE", file=file, line=line, policy=policy, message=message, hint=hint)
