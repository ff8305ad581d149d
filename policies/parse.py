"""Cedar text -> `Policy` values that can be enforced. The one module that touches Cedar's engine.

(1) Files are UTF-8, at most 1 MiB; at most 10,000 policies in all.
(2) Every policy has an `@id`, unique over all files, and no annotation that we would silently ignore.
(3) It parses, and validates strictly against the schema.
(4) It compiles (`compile.check`): on every node, or it is refused here.
What Cedar says without a position gets a file and a line. Anything wrong refuses everything.
"""

import functools
import importlib.resources
import re
from collections.abc import Iterator, Mapping

import cedarpy
from cedarpy import pst

from policies import compile as compiler
from policies import grammar, lexer, syntax
from policies.errors import Finding, PolicyError
from policies.grammar import MAX_POLICIES
from policies.model import ACTION_GROUPS, ACTIONS, Effect, PolicyId

MAX_FILE_BYTES = 2**20
MAX_REASON = 512
SEVERITIES = ("low", "medium", "high", "critical")
ANNOTATIONS = frozenset({"id", "reason", "severity"})
_NO_ACTION = "unable to find an applicable action given the policy scope constraints"
_HINTS = {_NO_ACTION: "a group of actions needs `in`, not `==`"}
_NUMBERED = re.compile(r"(for policy )?`?policy([0-9]+)`?,? ?")


def load(files: Mapping[str, str | bytes]) -> tuple[syntax.Policy, ...]:
    """All policies, in the order of file names and lines; raises PolicyError with everything that is wrong."""
    findings: list[Finding] = []
    policies: list[syntax.Policy] = []
    for name in sorted(files):
        try:
            policies += _load_file(name, _decode(name, files[name]))
        except PolicyError as exc:
            findings += exc.findings
        if len(policies) > MAX_POLICIES:  # what follows, and what else is wrong, would only take time
            raise PolicyError(
                _finding("W-COUNT", policies[MAX_POLICIES], f"more than {MAX_POLICIES} policies")
            )
    findings += _doubled(policies)
    findings += _causes(list(_validate(policies)))
    if not findings:
        findings += compiler.check(policies)
    if findings:
        raise PolicyError(*sorted(findings, key=lambda item: (item.file, item.line, item.code)))
    return tuple(policies)


@functools.cache
def schema_text() -> str:
    """The Cedar schema, for tools that show it and for engines that are compared."""
    return importlib.resources.files("policies").joinpath("schema.cedarschema").read_text("utf-8")


@functools.cache
def _schema() -> cedarpy.Schema:
    return cedarpy.Schema.from_str(schema_text())


def _decode(name: str, source: str | bytes) -> str:
    data = source if isinstance(source, bytes) else source.encode("utf-8", "surrogatepass")
    if len(data) > MAX_FILE_BYTES:
        raise _error("W-SIZE", name, 1, f"file is larger than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise _error("W-ENCODING", name, line, "file is not UTF-8") from exc


def _load_file(name: str, source: str) -> list[syntax.Policy]:
    chunks = lexer.split(source)
    for chunk in chunks:
        if not chunk.complete:
            raise _error("W-SYNTAX", name, chunk.line, "policy has no `;` at its end")
    try:
        parsed = cedarpy.policies_to_pst(source)
    except ValueError as exc:
        raise _locate(name, chunks, str(exc)) from exc
    for number, chunk in enumerate(chunks):
        if f"policy{number}" in parsed.templates:
            raise _error("W-TEMPLATE", name, chunk.line, "templates are not supported", "name the entity")
    if len(parsed.static_policies) != len(chunks):
        raise _error("W-SYNTAX", name, 1, "the policies of this file cannot be told apart")
    findings: list[Finding] = []
    policies: list[syntax.Policy] = []
    for number, chunk in enumerate(chunks):
        template = parsed.static_policies[f"policy{number}"]
        wrong = list(_judge_annotations(name, chunk, dict(template.annotations)))
        findings += wrong
        if not wrong:
            policies.append(_policy(name, chunk, template))
    if findings:
        raise PolicyError(*findings)
    return policies


def _locate(name: str, chunks: tuple[lexer.Chunk, ...], message: str) -> PolicyError:
    """Cedar tells what is wrong, not where: ask it about each policy by itself."""
    findings: list[Finding] = []
    for chunk in chunks:
        try:
            cedarpy.policies_to_pst(chunk.text)
        except ValueError as exc:
            unexpected = re.match(r"unexpected token `([^`]+)`|`([^`]+)` is not a valid", str(exc))
            token = next((group for group in unexpected.groups() if group), "") if unexpected else ""
            line = chunk.line + lexer.first_line(chunk.text, token)
            findings.append(Finding(code="W-SYNTAX", file=name, line=line, policy="", message=str(exc)))
    return PolicyError(*findings) if findings else _error("W-SYNTAX", name, 1, message)


def _judge_annotations(name: str, chunk: lexer.Chunk, annotations: dict[str, str]) -> Iterator[Finding]:
    at = functools.partial(Finding, file=name, line=chunk.line)
    policy = annotations.get("id", "")
    if not policy:
        yield at(code="W-ID", policy="", message="policy has no id", hint='write `@id("…")` above it')
    elif not grammar.POLICY_ID.fullmatch(policy):
        yield at(
            code="W-ID", policy="", message=f"id `{policy[:80]}` does not match `{grammar.POLICY_ID.pattern}`"
        )
    for key in sorted(set(annotations) - ANNOTATIONS):
        yield at(code="W-ANNOTATION", policy=policy, message=f"unknown annotation `@{key}`")
    reason = annotations.get("reason", "")
    if len(reason) > MAX_REASON or not reason.isprintable():
        message = f"`@reason` must be one line of at most {MAX_REASON} printable characters"
        yield at(code="W-ANNOTATION", policy=policy, message=message)
    if annotations.get("severity", SEVERITIES[0]) not in SEVERITIES:
        yield at(
            code="W-ANNOTATION", policy=policy, message=f"`@severity` must be one of {', '.join(SEVERITIES)}"
        )


def _doubled(policies: list[syntax.Policy]) -> Iterator[Finding]:
    first: dict[PolicyId, syntax.Policy] = {}
    for policy in policies:
        other = first.setdefault(policy.id, policy)
        if other is not policy:
            yield _finding("W-ID", policy, f"id is taken by {other.file}:{other.line}")


def _validate(policies: list[syntax.Policy]) -> Iterator[Finding]:
    """Cedar's strict validation; its per-environment repetitions of one error become one finding."""
    result = cedarpy.validate_policies("\n".join(policy.source for policy in policies), _schema())
    seen: set[tuple[str, str]] = set()
    for error in result.errors:
        number = _NUMBERED.search(error.policy_id)
        message = re.sub(r' for Action::"[^"]*"', "", _NUMBERED.sub("", error.error))
        if number is None:
            raise RuntimeError(f"validation itself failed: {error}")
        policy = policies[int(number.group(2))]
        if (policy.id, message) not in seen:
            seen.add((policy.id, message))
            quoted = re.search(r"`([^`]+)`", message)
            token = quoted.group(1) if quoted else ""
            yield _finding("W-SCHEMA", policy, message, token, _HINTS.get(message, ""))


def _causes(findings: list[Finding]) -> list[Finding]:
    """A misspelt name is one mistake: that no action applies then is its consequence."""
    misspelt = {item.policy for item in findings if item.message.startswith("unrecognized")}
    return [item for item in findings if item.message != _NO_ACTION or item.policy not in misspelt]


def _finding(code: str, policy: syntax.Policy, message: str, token: str = "", hint: str = "") -> Finding:
    line = policy.line_of(token)
    return Finding(code=code, file=policy.file, line=line, policy=policy.id, message=message, hint=hint)


def _error(code: str, file: str, line: int, message: str, hint: str = "") -> PolicyError:
    return PolicyError(Finding(code=code, file=file, line=line, policy="", message=message, hint=hint))


def _policy(name: str, chunk: lexer.Chunk, template: pst.Template) -> syntax.Policy:
    return syntax.Policy(
        id=PolicyId(template.annotations["id"]),
        effect=Effect(template.effect),
        actions=_actions(template.action),
        any_action=isinstance(template.action, pst.ScopeAny),
        principal=_scope(syntax.Var("principal"), template.principal),
        resource=_scope(syntax.Var("resource"), template.resource),
        clauses=tuple(
            syntax.Clause(_node(clause.expr), negated=isinstance(clause, pst.Unless))
            for clause in template.clauses
        ),
        reason=template.annotations.get("reason", ""),
        severity=template.annotations.get("severity", ""),
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
    match node:
        case pst.Var(name):
            return syntax.Var(name)
        case pst.BoolLit(value) | pst.LongLit(value) | pst.StringLit(value):
            return syntax.Lit(value)
        case pst.EntityLit(value):
            return _entity(value)
        case pst.UnaryOp(op, arg):
            return syntax.Call(op, (_node(arg),))
        case pst.BinaryOp(op, left, right):
            return syntax.Call(op, (_node(left), _node(right)))
        case pst.GetAttr(base, attr):
            return syntax.Attr(_node(base), attr)
        case pst.HasAttr(base, attrs):
            return (
                syntax.HasAttr(_node(base), attrs[0]) if len(attrs) == 1 else _foreign("has of a path", "has")
            )
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
        case pst.Record():
            return _foreign("record literal", ":")
        case pst.Slot(name):
            return _foreign("slot", f"?{name}")
    raise RuntimeError(f"unknown syntax {node!r}")


def _foreign(what: str, token: str) -> syntax.Foreign:
    return syntax.Foreign(what, token)


def _parts(pattern: tuple[pst.PatternElem, ...]) -> tuple[str, ...]:
    parts = [""]
    for element in pattern:
        if isinstance(element, pst.Char):
            parts[-1] += element.value
        elif len(parts) == 1 or parts[-1]:  # `**` is `*`
            parts.append("")
    return tuple(parts)
