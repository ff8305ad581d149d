"""Resources that some policies can tell apart: one example of each kind, out of what the policies themselves name.

For questions that must not depend on what is declared today: can this policy ever match, does that one cover it.
"""

import itertools
import math
from collections.abc import Iterator, Sequence

from policies import grammar, patterns, syntax
from policies.model import CLASS_MAX, RESOURCE_KINDS, Field, ResourceKey
from policies.operands import ResourceFacts
from policies.satisfy import UndecidedError

MAX_EXAMPLES = 1024
_NEW_NODE, _NEW_SITE, _NEW_COUNTRY = "other-node", "other-site", "ZZ"


def examples(policies: Sequence[syntax.Policy]) -> Iterator[ResourceFacts]:
    """Raises UndecidedError where there are too many."""
    named = _Named(policies)
    groups = {kind: named.ids(f"{kind}Group") for kind in RESOURCE_KINDS}
    names, owners = named.texts("name"), named.texts("owner")
    classes = range(CLASS_MAX + 1) if "max_class" in named.attributes else (CLASS_MAX,)
    places = sorted(set(named.places()))
    facts = math.prod((len(owners), len(classes), len(places)))
    keyed = sum((len(names) + len(named.ids(kind))) * 2 ** len(groups[kind]) for kind in RESOURCE_KINDS)
    if facts * keyed > MAX_EXAMPLES:
        raise UndecidedError
    for kind in RESOURCE_KINDS:
        for (node, country), owner, max_class in itertools.product(places, owners, classes):
            for key, held in itertools.product(
                _keys(kind, node, names, named.ids(kind)), _subsets(groups[kind])
            ):
                yield ResourceFacts(
                    key=key,
                    groups=held,
                    owner=owner,
                    max_class=max_class,
                    site=node.partition(".")[2],
                    jurisdiction=country,
                )


def _keys(kind: str, node: str, names: Sequence[str], uids: Sequence[str]) -> Iterator[ResourceKey]:
    known = {uid.rpartition("@")[0] for uid in uids if uid.rpartition("@")[2] == node}
    for name in sorted(known | set(names)):
        yield ResourceKey(kind, name, node)


def _subsets(words: Sequence[str]) -> Iterator[frozenset[str]]:
    for size in range(len(words) + 1):
        yield from map(frozenset, itertools.combinations(words, size))


class _Named:
    """What policies spell out."""

    def __init__(self, policies: Sequence[syntax.Policy]) -> None:
        self._entities: set[tuple[str, str]] = set()
        self._literals: set[str] = set()
        self._patterns: set[tuple[str, ...]] = set()
        self.attributes: set[str] = set()
        for policy in policies:
            for node in (policy.principal, policy.resource, *(clause.node for clause in policy.clauses)):
                self._read(node)

    def _read(self, node: syntax.Node | None) -> None:
        match node:
            case None:
                return
            case syntax.Entity(kind, id_):
                self._entities.add((kind, id_))
            case syntax.Lit(str() as value):
                self._literals.add(value)
            case syntax.Matches(_, parts):
                self._patterns.add(parts)
            case syntax.Attr(syntax.Var("resource"), name):
                self.attributes.add(name)
        for child in syntax.children(node):
            self._read(child)

    def ids(self, kind: str) -> list[str]:
        return sorted(id_ for found, id_ in self._entities if found == kind)

    def texts(self, attribute: str) -> tuple[str, ...]:
        """What a free text of a resource can be."""
        if attribute not in self.attributes:
            return ("other",)
        # Two free texts may be equal to each other, or to a place, and to nothing that is spelled out.
        compared = self.attributes & {"name", "owner", "site", "jurisdiction"} != {attribute}
        places = {text for node, country in self.places() for text in (node.partition(".")[2], country)}
        literals = self._literals | (places if compared else set())
        try:
            found = patterns.kinds(Field.PROTOCOL, literals, sorted(self._patterns))
            return patterns.kinds(Field.PROTOCOL, found, sorted(self._patterns)) if compared else found
        except patterns.TooManyError as exc:
            raise UndecidedError from exc

    def places(self) -> Iterator[tuple[str, str]]:
        """(node, jurisdiction) that can be told apart."""
        uids = [id_ for kind in RESOURCE_KINDS for id_ in self.ids(kind)]
        nodes = {
            node for node in (uid.rpartition("@")[2] for uid in uids) if grammar.NODE_NAME.fullmatch(node)
        }
        nodes |= {node for node in self.ids("Node") if grammar.NODE_NAME.fullmatch(node)}
        sites = {*self.ids("Site"), _NEW_SITE}
        countries = {*self.ids("Jurisdiction"), _NEW_COUNTRY}
        if self.attributes & {"site", "jurisdiction"}:
            sites |= {text for text in self._literals if grammar.LABEL.fullmatch(text)}
            countries |= {text for text in self._literals if grammar.COUNTRY.fullmatch(text)}
        nodes |= {f"{_NEW_NODE}.{site}" for site in sites}
        yield from itertools.product(nodes, countries)
