"""Cedar source to policies: parsed and validated by Cedar's own engine, then narrowed to what can be enforced.

1. Files are UTF-8, at most 1 MiB; at most 10,000 policies in all.
2. Every policy has an `@id`, unique over all files, and no annotation that we would silently ignore.
3. It parses and validates against the schema, strictly.
4. It uses nothing that a proxy cannot decide exactly (`translate`, `compile.check`).
Any error refuses everything, with file and line.
"""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib import resources

import cedarpy
from cedarpy import pst

from policies import compile as compiler
from policies import lexer, translate
from policies.errors import Finding, NotEnforceableError, PolicyError
from policies.lexer import Piece
from policies.model import Effect, PolicyId
from policies.syntax import Clause, Policy

MAX_FILE_BYTES = 1 << 20
MAX_POLICIES = 10_000
MAX_FINDINGS = 50
ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ANNOTATIONS = {"id", "reason", "severity"}
MAX_REASON = 200


@lru_cache(maxsize=1)
def schema_text() -> str:
    return resources.files("policies").joinpath("schema.cedarschema").read_text("utf-8")


@lru_cache(maxsize=1)
def _schema() -> cedarpy.Schema:
    return cedarpy.Schema.from_str(schema_text())


def load(files: Mapping[str, str]) -> tuple[Policy, ...]:
    """All policies of `files` (name -> text), in order; PolicyError with every finding if any is wrong."""
    found: list[tuple[str, Piece, Policy]] = []
    findings: list[Finding] = []
    for name, text in files.items():
        if len(text.encode("utf-8", "surrogatepass")) > MAX_FILE_BYTES:
            raise PolicyError(_finding("W101", name, 0, "", f"file is larger than {MAX_FILE_BYTES} bytes"))
        for piece in lexer.pieces(text):
            try:
                found.append((name, piece, _policy(name, piece)))
            except PolicyError as exc:
                findings += exc.findings
    if len(found) > MAX_POLICIES:
        raise PolicyError(_finding("W102", "", 0, "", f"more than {MAX_POLICIES} policies"))
    findings += _duplicates(found)
    if findings:
        raise PolicyError(*findings[:MAX_FINDINGS])
    findings += _validate(found)
    if not findings:
        findings += _enforceable(found)
    if findings:
        raise PolicyError(*findings[:MAX_FINDINGS])
    return tuple(policy for _, _, policy in found)


def _policy(file: str, piece: Piece) -> Policy:
    try:
        tree = cedarpy.policies_to_pst(piece.text)
    except ValueError as exc:
        raise PolicyError(_finding("W103", file, piece.line, "", f"not a Cedar policy: {exc}")) from exc
    if tree.templates or len(tree.static_policies) != 1:
        hint = "write the entity in place of ?principal or ?resource"
        raise PolicyError(_finding("W104", file, piece.line, "", "templates are not supported", hint))
    (policy,) = tree.static_policies.values()
    named = _annotations(file, piece, policy.annotations)
    try:
        return _translated(file, piece, policy, named)
    except NotEnforceableError as exc:
        line = lexer.line_within(piece, exc.construct)
        raise PolicyError(_not_enforceable(file, line, named["id"], exc)) from exc


def _translated(file: str, piece: Piece, policy: pst.Template, annotations: Mapping[str, str]) -> Policy:
    names, exact = translate.actions(policy.action)
    texts = [*lexer.clause_texts(piece.text), *("" for _ in policy.clauses)]
    clauses = tuple(
        Clause(negated=isinstance(clause, pst.Unless), body=translate.expression(clause.expr), text=text)
        for clause, text in zip(policy.clauses, texts, strict=False)
    )
    return Policy(
        id=PolicyId(annotations["id"]),
        effect=Effect(policy.effect),
        file=file,
        line=piece.line,
        reason=annotations.get("reason", ""),
        principal=translate.scope("principal", policy.principal),
        actions=names,
        action_is_exact=exact,
        resource=translate.scope("resource", policy.resource),
        clauses=clauses,
        text=piece.text,
    )


def _annotations(file: str, piece: Piece, annotations: Mapping[str, str]) -> Mapping[str, str]:
    name = annotations.get("id", "")
    if not ID.fullmatch(name):
        hint = '`@id("clinical-eu")` before the policy: 1 to 64 of a-z 0-9 . _ -'
        raise PolicyError(_finding("W105", file, piece.line, name[:64], "policy has no valid @id", hint))
    unknown = sorted(set(annotations) - ANNOTATIONS)
    if unknown:
        hint = "known annotations: @id, @reason, @severity"
        raise PolicyError(
            _finding("W106", file, piece.line, name, f"unknown annotation `@{unknown[0]}`", hint)
        )
    reason = annotations.get("reason", "")
    if len(reason) > MAX_REASON or not reason.isprintable():
        raise PolicyError(
            _finding(
                "W107", file, piece.line, name, f"@reason is one line of at most {MAX_REASON} characters"
            )
        )
    return annotations


def _duplicates(found: list[tuple[str, Piece, Policy]]) -> Iterator[Finding]:
    first: dict[str, tuple[str, Piece]] = {}
    for file, piece, policy in found:
        if policy.id in first:
            other, at = first[policy.id]
            yield _finding(
                "W108", file, piece.line, policy.id, f"@id `{policy.id}` is also at {other}:{at.line}"
            )
        first.setdefault(policy.id, (file, piece))


def _validate(found: list[tuple[str, Piece, Policy]]) -> Iterator[Finding]:
    """Cedar's validator; it names policies by their order, so we can name the place."""
    result = cedarpy.validate_policies("\n".join(piece.text for _, piece, _ in found), _schema())
    if result.validation_passed:
        return
    told: set[tuple[int, str]] = set()
    for error in result.errors:
        number = re.fullmatch(r"policy(\d+)", str(error.policy_id))
        at = int(number[1]) if number and int(number[1]) < len(found) else 0
        # The validator repeats itself for every action that a policy could be about.
        message = re.sub(
            r"for policy `policy\d+`,? ?| (in context )?for Action::\"[^\"]*\"", "", str(error.error)
        ).strip()
        if (at, message) not in told:
            told.add((at, message))
            file, piece, policy = found[at]
            yield _finding(
                "W110", file, piece.line, policy.id, message, "the schema is policies/schema.cedarschema"
            )


def _enforceable(found: list[tuple[str, Piece, Policy]]) -> Iterator[Finding]:
    for file, piece, policy in found:
        try:
            compiler.check(policy)
        except NotEnforceableError as exc:
            yield _not_enforceable(file, lexer.line_within(piece, exc.construct), policy.id, exc)


def _not_enforceable(file: str, line: int, policy: str, exc: NotEnforceableError) -> Finding:
    hint = "docs/policy-language.md lists what cannot be enforced, and what to write instead"
    return _finding("W120", file, line, policy, f"`{exc.construct}` cannot be enforced: {exc.reason}", hint)


def _finding(code: str, file: str, line: int, policy: str, message: str, hint: str = "") -> Finding:
    return Finding(
        code=code, severity="error", file=file, line=line, policy=policy, message=message, hint=hint
    )
