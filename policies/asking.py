"""Which arguments of which tools policies ask for: what a classifier must read, and no more."""

from collections.abc import Iterable, Iterator, Mapping

from policies import arguments, syntax
from policies.arguments import Argument
from policies.errors import Finding
from policies.model import Rules
from policies.simplify import leaves

Wanted = Mapping[str, frozenset[str]]
"""The name of a tool -> the arguments of it that some rule asks for."""


def wanted(rules: Rules) -> Wanted:
    """Tools of one name are one here, whoever serves them: what is read then is what any rule could ask."""
    found: dict[str, set[str]] = {}
    for rule in rules.rules:
        names = {leaf.name for leaf in leaves(rule.when) if isinstance(leaf, Argument)}
        for key in rule.resources if names else ():
            found.setdefault(key.name, set()).update(names)
    return {tool: frozenset(names) for tool, names in found.items()}


def check(policies: Iterable[syntax.Policy]) -> Iterator[Finding]:
    """What is wrong with the arguments of all policies together: two that differ by case, or too many."""
    known: dict[str, str] = {}
    for policy in (one for one in policies if "Tag" in one.source):  # thousands are looked at for every node
        for name in sorted(_names(policy)):
            other = known.setdefault(name.lower(), name)
            if other != name:
                yield _finding(policy, name, f"arguments `{other}` and `{name}`: no call may name either")
            elif len(known) > arguments.MAX_NAMES:
                yield _finding(policy, name, f"more than {arguments.MAX_NAMES} arguments are asked for")
                return


def _names(policy: syntax.Policy) -> set[str]:
    found: set[str] = set()
    pending = [clause.node for clause in policy.clauses]
    while pending:
        match node := pending.pop():
            case syntax.Call("has_tag" | "get_tag", (_, syntax.Lit(str() as name))):
                found.add(name)
        pending += syntax.children(node)
    return found


def _finding(policy: syntax.Policy, name: str, message: str) -> Finding:
    line = policy.line_of(f'"{name}"')
    return Finding(code="W-UNSUPPORTED", file=policy.file, line=line, policy=policy.id, message=message)
