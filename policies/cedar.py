"""Cedar's engine: text -> syntax, and strict validation. The one module that touches it.

What it says is told by number, in the order of the texts that it was given: it knows neither files nor lines.
"""

import functools
import importlib.resources
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

import cedarpy
from cedarpy import pst

from policies import lexer, syntax
from policies.model import ACTION_GROUPS, ACTIONS, Effect, PolicyId

Tree: TypeAlias = pst.Template
"""One policy or template as Cedar reads it."""

_VARS = {name: syntax.Var(name) for name in ("principal", "action", "resource", "context")}
_NUMBERED = re.compile(r"(for policy )?`?policy([0-9]+)`?,? ?")
_OF_ACTION = re.compile(r' for Action::"[^"]*"')


@functools.cache
def _schema() -> cedarpy.Schema:
    text = importlib.resources.files("policies").joinpath("schema.cedarschema").read_text("utf-8")
    return cedarpy.Schema.from_str(text)


def trees(sources: Iterable[str]) -> list[Tree]:
    """One for each text; raises ValueError where they are no Cedar, or one is not just one policy."""
    texts = list(sources)
    read = cedarpy.policies_to_pst("\n".join(texts))
    found = {**read.static_policies, **read.templates}
    if len(found) != len(texts):
        raise ValueError("the policies of this file cannot be told apart")
    return [found[f"policy{number}"] for number in range(len(texts))]


def complaints(sources: Iterable[str]) -> Iterator[tuple[int, str]]:
    """(which, why) of the policies that are not valid; what is said again for another action is said once.

    Other threads run meanwhile: thousands of policies take seconds.
    """
    result = cedarpy.validate_policies("\n".join(sources), _schema(), release_gil=True)
    said: set[tuple[int, str]] = set()
    for error in result.errors:
        number = _NUMBERED.search(error.policy_id)
        if number is None:
            raise RuntimeError(f"validation itself failed: {error}")
        complaint = int(number.group(2)), _OF_ACTION.sub("", _NUMBERED.sub("", error.error))
        if complaint not in said:
            said.add(complaint)
            yield complaint


def policy(name: str, chunk: lexer.Chunk, tree: Tree) -> syntax.Policy:
    return syntax.Policy(
        id=PolicyId(tree.annotations["id"]),
        effect=Effect(tree.effect),
        actions=_actions(tree.action),
        any_action=isinstance(tree.action, pst.ScopeAny),
        principal=_scope(_VARS["principal"], tree.principal),
        resource=_scope(_VARS["resource"], tree.resource),
        clauses=tuple(
            syntax.Clause(_node(clause.expr), negated=isinstance(clause, pst.Unless))
            for clause in tree.clauses
        ),
        reason=tree.annotations.get("reason", ""),
        severity=tree.annotations.get("severity", ""),
        file=name,
        line=chunk.line,
        source=chunk.text,
    )


def _actions(scope: pst.ActionConstraint) -> frozenset[str]:
    if isinstance(scope, pst.ScopeAny):
        return ACTIONS
    if isinstance(scope, pst.ActionEq):
        return ACTIONS & {scope.entity.id}
    names = (entity.id for entity in scope.entities)
    return frozenset(member for name in names for member in ACTION_GROUPS.get(name) or (name,)) & ACTIONS


def _scope(var: syntax.Var, scope: pst.PrincipalOrResourceConstraint) -> syntax.Node | None:
    match scope:
        case pst.ScopeAny():
            return None
        case pst.ScopeEq(entity):
            return syntax.Call("eq", (var, _entity(entity)))
        case pst.ScopeIn(entity):
            return syntax.Call("in", (var, _entity(entity)))
        case pst.ScopeIs(kind):
            return syntax.IsKind(var, str(kind))
        case pst.ScopeIsIn(kind, entity):
            return syntax.Call(
                "and", (syntax.IsKind(var, str(kind)), syntax.Call("in", (var, _entity(entity))))
            )
    raise RuntimeError(f"unknown scope {scope!r}")


def _entity(entity: pst.EntityUid) -> syntax.Entity:
    return syntax.Entity(str(entity.type), entity.id)


def _node(node: pst.Expr) -> syntax.Node:  # noqa: C901, PLR0911, PLR0912  # one arm per kind of node
    match node:  # what is most often written stands first: each arm costs those below it
        case pst.BinaryOp(op, left, right):
            return syntax.Call(op, (_node(left), _node(right)))
        case pst.GetAttr(pst.Var(name), attr):
            return _attribute(name, attr)
        case pst.StringLit(value) | pst.LongLit(value) | pst.BoolLit(value):
            return syntax.Lit(value)
        case pst.UnaryOp(op, arg):
            return syntax.Call(op, (_node(arg),))
        case pst.Var(name):
            return _VARS[name]
        case pst.EntityLit(value):
            return _entity(value)
        case pst.GetAttr(base, attr):
            return syntax.Attr(_node(base), attr)
        case pst.HasAttr(base, attrs):
            return _has_path(_node(base), attrs)
        case pst.Like(base, pattern):
            return syntax.Matches(_node(base), _parts(pattern))
        case pst.Is(base, kind, None):
            return syntax.IsKind(_node(base), str(kind))
        case pst.Is(base, kind, within):
            inner = _node(base)
            return syntax.Call(
                "and", (syntax.IsKind(inner, str(kind)), syntax.Call("in", (inner, _node(within))))
            )
        case pst.IfThenElse(cond, then, other):
            return syntax.If(_node(cond), _node(then), _node(other))
        case pst.Set(elements):
            return syntax.SetOf(tuple(_node(element) for element in elements))
        case pst.Record(fields):
            return syntax.RecordOf(tuple((name, _node(value)) for name, value in sorted(fields.items())))
        case pst.Slot(name):
            return syntax.Foreign("slot", f"?{name}")
    raise RuntimeError(f"unknown syntax {node!r}")


@functools.lru_cache(maxsize=64)
def _attribute(name: str, attr: str) -> syntax.Attr:
    """`context.purpose` stands in thousands of policies: it is one value."""
    return syntax.Attr(_VARS[name], attr)


def _has_path(base: syntax.Node, names: Sequence[str]) -> syntax.Node:
    """`base has a.b` is `base has a && base.a has b`."""
    first, *rest = names
    has = syntax.HasAttr(base, first)
    return syntax.Call("and", (has, _has_path(syntax.Attr(base, first), rest))) if rest else has


def _parts(pattern: tuple[pst.PatternElem, ...]) -> tuple[str, ...]:
    parts = [""]
    for element in pattern:
        if isinstance(element, pst.Char):
            parts[-1] += element.value
        elif len(parts) == 1 or parts[-1]:  # `**` is `*`
            parts.append("")
    return tuple(parts)
