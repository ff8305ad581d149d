"""Cedar text -> `Policy` values that can be enforced. The one module that touches Cedar's engine.

(1) Files are UTF-8, at most 1 MiB; at most 10,000 policies in all.
(2) Every policy has an `@id`, unique over all files, and no annotation that we would silently ignore. Templates have
    links (`policies.templates`), each of which is a policy.
(3) It parses, and validates strictly against the schema.
(4) It compiles (`compile.check`): on every node, or it is refused here.
What Cedar says without a position gets a file and a line. Anything wrong refuses everything.
"""

import functools
import importlib.resources
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import cedarpy
from cedarpy import pst

from policies import annotations, lexer, syntax, templates
from policies import compile as compiler
from policies.errors import Finding, PolicyError
from policies.grammar import MAX_POLICIES
from policies.model import ACTION_GROUPS, ACTIONS, Effect, PolicyId

MAX_FILE_BYTES = 2**20
MAX_NESTING = 500  # Cedar's parser is recursive: at some thousand levels it takes its process down
_NO_ACTION = "unable to find an applicable action given the policy scope constraints"
_HINTS = {_NO_ACTION: "a group of actions needs `in`, not `==`"}
_NUMBERED = re.compile(r"(for policy )?`?policy([0-9]+)`?,? ?")


def load(files: Mapping[str, str | bytes]) -> tuple[syntax.Policy, ...]:
    """All policies, in the order of file names and lines; raises PolicyError with everything that is wrong."""
    reading = _Reading()
    for name in sorted(files):
        reading.read(name, files[name])
        if reading.excess:  # what follows, and what else is wrong, would only take time
            raise PolicyError(reading.excess)
    policies, findings = reading.finish()
    if not findings:
        findings += [*_doubled(policies), *_causes(list(_validate(policies)))]
    if not findings:
        findings += compiler.check(policies)
    if findings:
        raise PolicyError(*sorted(findings, key=lambda item: (item.file, item.line, item.code)))
    return tuple(policies)


class _Reading:
    """What has been read so far, file by file."""

    def __init__(self) -> None:
        self._policies: list[syntax.Policy] = []
        self._templates: dict[str, templates.Template] = {}
        self._links: list[templates.Link] = []
        self._findings: list[Finding] = []
        self._count = 0
        self.excess: Finding | None = None

    def read(self, name: str, source: str | bytes) -> None:
        try:
            text = _decode(name, source)
            if name.endswith(templates.SUFFIX):
                self._links += templates.read(name, text)
            else:
                self._read_policies(name, text)
        except PolicyError as exc:
            self._findings += exc.findings

    def _read_policies(self, name: str, text: str) -> None:
        chunks = lexer.split(text)
        left = MAX_POLICIES - self._count
        if len(chunks) > left:  # before anything costly is done
            self.excess = _at("W-COUNT", name, chunks[left].line, f"more than {MAX_POLICIES} policies")
            return
        self._count += len(chunks)
        for chunk in chunks:
            if lexer.nests_deeper(chunk.text, MAX_NESTING):
                raise _error("W-COMPLEX", name, chunk.line, "the policy nests too deeply", "split it")
        for chunk, parsed in _parse(name, text, chunks):
            id_ = parsed.annotations["id"]
            if not lexer.slots(chunk.text):
                self._policies.append(_policy(name, chunk, parsed))
            elif self._templates.setdefault(id_, made := templates.Template(id_, name, chunk)) is not made:
                self._findings.append(_taken(name, chunk.line, id_, self._templates[id_]))

    def finish(self) -> tuple[list[syntax.Policy], list[Finding]]:
        """With links followed. Where a file could not be read, what is missing is not told as well."""
        if self._findings:
            return self._policies, self._findings
        if self._count + len(self._links) > MAX_POLICIES:
            last = self._links[-1]
            return [], [
                *_error("W-COUNT", last.file, last.line, f"more than {MAX_POLICIES} policies").findings
            ]
        try:
            linked = [self._linked(*made) for made in templates.fill(self._templates, self._links)]
        except PolicyError as exc:
            return self._policies, list(exc.findings)
        return self._policies + linked, []

    def _linked(self, link: templates.Link, template: templates.Template, text: str) -> syntax.Policy:
        chunk = lexer.Chunk(text, template.chunk.line, complete=True)
        ((_, parsed),) = _parse(template.file, text, (chunk,))
        return replace(_policy(template.file, chunk, parsed), id=PolicyId(link.id))


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


def _parse(name: str, source: str, chunks: tuple[lexer.Chunk, ...]) -> list[tuple[lexer.Chunk, pst.Template]]:
    """Each policy with its syntax tree, its annotations judged."""
    for chunk in chunks:
        if not chunk.complete:
            raise _error("W-SYNTAX", name, chunk.line, "policy has no `;` at its end")
    try:
        parsed = cedarpy.policies_to_pst(source)
    except ValueError as exc:
        raise _locate(name, chunks, str(exc)) from exc
    trees = {**parsed.static_policies, **parsed.templates}
    if len(trees) != len(chunks):
        raise _error("W-SYNTAX", name, 1, "the policies of this file cannot be told apart")
    found = [(chunk, trees[f"policy{number}"]) for number, chunk in enumerate(chunks)]
    wrong = [
        one for chunk, tree in found for one in annotations.judge(name, chunk.line, dict(tree.annotations))
    ]
    if wrong:
        raise PolicyError(*wrong)
    return found


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


def _taken(file: str, line: int, policy: str, by: templates.Template | syntax.Policy) -> Finding:
    first = by.chunk.line if isinstance(by, templates.Template) else by.line
    return Finding(
        code="W-ID", file=file, line=line, policy=policy, message=f"id is taken by {by.file}:{first}"
    )


def _doubled(policies: list[syntax.Policy]) -> Iterator[Finding]:
    first: dict[PolicyId, syntax.Policy] = {}
    for policy in policies:
        other = first.setdefault(policy.id, policy)
        if other is not policy:
            yield _taken(policy.file, policy.line, policy.id, other)


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
            token = quoted.group(1).rpartition("::")[2] if quoted else ""
            yield _finding("W-SCHEMA", policy, message, token, _HINTS.get(message, ""))


def _causes(findings: list[Finding]) -> list[Finding]:
    """A misspelt name is one mistake: that no action applies then is its consequence."""
    misspelt = {item.policy for item in findings if item.message.startswith("unrecognized")}
    return [item for item in findings if item.message != _NO_ACTION or item.policy not in misspelt]


def _finding(code: str, policy: syntax.Policy, message: str, token: str = "", hint: str = "") -> Finding:
    line = policy.line_of(token)
    return Finding(code=code, file=policy.file, line=line, policy=policy.id, message=message, hint=hint)


def _at(code: str, file: str, line: int, message: str, hint: str = "") -> Finding:
    return Finding(code=code, file=file, line=line, policy="", message=message, hint=hint)


def _error(code: str, file: str, line: int, message: str, hint: str = "") -> PolicyError:
    return PolicyError(_at(code, file, line, message, hint))


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
