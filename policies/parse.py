"""Cedar text -> `Policy` values that can be enforced. Anything wrong refuses everything.

(1) What stands in files is within bounds (`policies.sources`).
(2) Every policy has an `@id`, unique over all files, and no annotation that we would silently ignore. Templates have
    links (`policies.templates`), each of which is a policy.
(3) It parses, and validates strictly against the schema (`policies.cedar`).
(4) It compiles (`compile.check`): on every node, or it is refused here.
What Cedar says without a position gets a file and a line.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from policies import annotations, cedar, lexer, sources, syntax, templates
from policies import compile as compiler
from policies.errors import Finding, PolicyError
from policies.model import PolicyId

_READ_AT_ONCE = 100  # trees of Cedar are gone before the collector has walked them more than once
_VALIDATED_AT_ONCE = 1000  # beside others each call waits twice for its turn
_NO_ACTION = "unable to find an applicable action given the policy scope constraints"
_HINTS = {_NO_ACTION: "a group of actions needs `in`, not `==`"}

_Piece = Sequence[syntax.Policy]
Beside = Callable[[Callable[[_Piece], list[Finding]], Iterable[_Piece]], Iterable[list[Finding]]]


def load(files: Mapping[str, str | bytes], beside: Beside = map) -> tuple[syntax.Policy, ...]:
    """All policies, in the order of file names and lines; raises PolicyError with everything that is wrong.

    `beside` is `map`, or an executor's: with that, what has been read is validated while the rest is being read.
    """
    reading = _Reading(*sources.read(files))
    complaints = [finding for found in beside(_validate, reading.pieces()) for finding in found]
    policies = tuple(reading.policies)
    findings = reading.findings or [*_doubled(policies), *complaints] or compiler.check(policies)
    if findings:
        raise PolicyError(*sorted(findings, key=lambda item: (item.file, item.line, item.code)))
    return policies


class _Reading:
    """What has been read so far. Where some of it could not be, what is missing for that reason is not told as well."""

    def __init__(self, files: Sequence[sources.Source], findings: Sequence[Finding]) -> None:
        self._files, self.findings = files, [*findings]
        self.policies: list[syntax.Policy] = []
        self._templates: dict[str, templates.Template] = {}

    def pieces(self) -> Iterator[_Piece]:
        """Reads; what is to be validated as it comes, until something is wrong."""
        policies = itertools.chain(self._written(), self._linked())
        while piece := tuple(itertools.islice(policies, _VALIDATED_AT_ONCE)):
            self.policies += piece
            if not self.findings:
                yield piece

    def _written(self) -> Iterator[syntax.Policy]:
        for source in self._files:
            for at in range(0, len(source.chunks), _READ_AT_ONCE):
                try:
                    read = _parse(source.file, source.chunks[at : at + _READ_AT_ONCE])
                except PolicyError as exc:
                    self.findings += exc.findings
                    continue
                for chunk, tree in read:
                    if lexer.slots(chunk.text):
                        self._keep(source.file, chunk, tree.annotations["id"])
                    else:
                        yield cedar.policy(source.file, chunk, tree)

    def _keep(self, file: str, chunk: lexer.Chunk, id_: str) -> None:
        first = self._templates.setdefault(id_, made := templates.Template(id_, file, chunk))
        if first is not made:
            self.findings.append(_taken(file, chunk.line, id_, first.file, first.chunk.line))

    def _linked(self) -> Iterator[syntax.Policy]:
        if self.findings:
            return
        try:
            links = [link for source in self._files for link in source.links]
            for link, template, text in templates.fill(self._templates, links):
                chunk = lexer.Chunk(text, template.chunk.line, complete=True)
                ((_, tree),) = _parse(template.file, (chunk,))
                yield replace(cedar.policy(template.file, chunk, tree), id=PolicyId(link.id))
        except PolicyError as exc:
            self.findings += exc.findings


def _parse(name: str, chunks: Sequence[lexer.Chunk]) -> list[tuple[lexer.Chunk, cedar.Tree]]:
    """Each policy with its syntax tree, its annotations judged."""
    try:
        found = list(zip(chunks, cedar.trees(chunk.text for chunk in chunks), strict=True))
    except ValueError as exc:
        raise _locate(name, chunks, str(exc)) from exc
    wrong = [
        one for chunk, tree in found for one in annotations.judge(name, chunk.line, dict(tree.annotations))
    ]
    if wrong:
        raise PolicyError(*wrong)
    return found


def _locate(name: str, chunks: Sequence[lexer.Chunk], message: str) -> PolicyError:
    """Cedar tells what is wrong, not where: ask it about each policy by itself."""
    findings: list[Finding] = []
    for chunk in chunks:
        try:
            cedar.trees((chunk.text,))
        except ValueError as exc:
            unexpected = re.match(r"unexpected token `([^`]+)`|`([^`]+)` is not a valid", str(exc))
            token = next((group for group in unexpected.groups() if group), "") if unexpected else ""
            line = chunk.line + lexer.first_line(chunk.text, token)
            findings.append(Finding(code="W-SYNTAX", file=name, line=line, policy="", message=str(exc)))
    if not findings:
        findings.append(Finding(code="W-SYNTAX", file=name, line=chunks[0].line, policy="", message=message))
    return PolicyError(*findings)


def _taken(file: str, line: int, policy: str, by: str, by_line: int) -> Finding:
    message = f"id is taken by {by}:{by_line}"
    return Finding(code="W-ID", file=file, line=line, policy=policy, message=message)


def _doubled(policies: Sequence[syntax.Policy]) -> Iterator[Finding]:
    first: dict[PolicyId, syntax.Policy] = {}
    for policy in policies:
        other = first.setdefault(policy.id, policy)
        if other is not policy:
            yield _taken(policy.file, policy.line, policy.id, other.file, other.line)


def _validate(policies: _Piece) -> list[Finding]:
    """What Cedar says against some policies, each by itself."""
    findings: list[Finding] = []
    for number, message in cedar.complaints(policy.source for policy in policies):
        policy = policies[number]
        quoted = re.search(r"`([^`]+)`", message)
        token = quoted.group(1).rpartition("::")[2] if quoted else ""
        findings.append(
            Finding(
                code="W-SCHEMA",
                file=policy.file,
                line=policy.line_of(token),
                policy=policy.id,
                message=message,
                hint=_HINTS.get(message, ""),
            )
        )
    return _causes(findings)


def _causes(findings: list[Finding]) -> list[Finding]:
    """A misspelt name is one mistake: that no action applies then is its consequence."""
    misspelt = {item.policy for item in findings if item.message.startswith("unrecognized")}
    return [item for item in findings if item.message != _NO_ACTION or item.policy not in misspelt]
