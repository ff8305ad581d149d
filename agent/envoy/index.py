"""Many rules as a search that touches few: exact maps on headers, then prefixes of what a certificate must contain.

A rule usually asks for something that has one value (a purpose) or that stands in the subject (a group, a site, a name).
Headers become maps. Texts of the subject become a tree of prefixes: where a subject lacks a prefix, no rule below it can
hold. A branch of Envoy's matcher never falls back to its sibling, so a branch is entered only when a rule in it holds.
Rules without such a text are tried one by one. Everything here may only save work, never change an answer.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.envoy import lower, pb
from agent.envoy.terms import HEADERS, certificate, word
from policies.model import And, Digit, Expr, Field, Holds, Is, Or, PrincipalIn, Rule

FEW = 8  # up to so many are tried one by one: a level of the tree costs about as much
MAX_COPIES = 4  # how often a rule may stand in a map, on average
MAX_ALTERNATIVES = 16
MAX_MAPS = 2
MAX_LEVELS = 5
"""Bounds on nesting: a protobuf reader stops at 100 levels, and a level of this tree takes up to five of them."""
MAPPED = (
    Field.PURPOSE,
    Field.SUBJECT_REGION,
    Field.PATH,
    Field.PROTOCOL,
    Field.METHOD,
    Field.DATA_CLASS,
    Field.STREAM,
)

Act = Callable[[Rule], pb.OnMatch]
Leaf = Callable[[list[Rule]], pb.OnMatch]


def by_header(
    rules: list[Rule], leaf: Leaf, fields: Sequence[Field] = MAPPED, maps: int = MAX_MAPS
) -> pb.OnMatch:
    """`leaf` of the rules that a request's headers leave."""
    for place, field in enumerate(fields if maps else ()):
        accepted = [_accepted(rule.when, field) for rule in rules]
        values = {value for some in accepted if some is not None for value in some}
        buckets = {
            value: [rule for rule, some in zip(rules, accepted, strict=True) if some is None or value in some]
            for value in values
        }
        if not _worth_it(len(rules), [len(bucket) for bucket in buckets.values()]):
            continue
        rest, left = fields[place + 1 :], maps - 1
        others = [rule for rule, some in zip(rules, accepted, strict=True) if some is None]
        branches = {value: by_header(bucket, leaf, rest, left) for value, bucket in buckets.items()}
        return pb.then(pb.exact_map(pb.header(HEADERS[field]), branches, by_header(others, leaf, rest, left)))
    return leaf(rules)


def _worth_it(count: int, sizes: list[int]) -> bool:
    return count > FEW and bool(sizes) and 2 * max(sizes) <= count and sum(sizes) <= MAX_COPIES * count


def _accepted(when: Expr, field: Field) -> frozenset[str] | None:
    """The values of a header under which a rule can hold; None: it does not say."""
    for item in _conjuncts(when):
        if isinstance(item, Digit) and item.field is field:
            return frozenset(map(str, item.values))
        if isinstance(item, Is) and item.field is field:
            return frozenset(map(word, item.values))
    return None


def _conjuncts(when: Expr) -> Sequence[Expr]:
    return when.items if isinstance(when, And) else (when,)


# --- prefixes of the subject ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """A rule under one of the texts that a subject must contain for it; `texts` are those left to ask."""

    texts: tuple[str, ...]
    rule: Rule


@dataclass(frozen=True, slots=True)
class Node:
    """Rules that can only hold where the subject contains `prefix` (empty: anywhere)."""

    prefix: str
    rules: tuple[Rule, ...]
    below: tuple["Node", ...]

    def rows(self, act: Act, lost: pb.OnMatch) -> list[tuple[pb.Predicate, pb.OnMatch]]:
        """What to try, in order. `lost` cannot be reached: a branch whose rules hold has one that holds."""
        own = [(lower.holds(rule.when), act(rule)) for rule in self.rules]
        return own + [
            (node.any_holds(), pb.then(pb.in_order(node.rows(act, lost), lost))) for node in self.below
        ]

    def any_holds(self) -> pb.Predicate:
        """Some rule here holds."""
        some = pb.any_of(
            [*(lower.holds(rule.when) for rule in self.rules), *(node.any_holds() for node in self.below)]
        )
        return pb.all_of([pb.test(pb.SUBJECT, contains=self.prefix), some]) if self.prefix else some

    def all_fail(self) -> pb.Predicate:
        """No rule here holds, and that is certain."""
        none = pb.all_of(
            [*(lower.fails(rule.when) for rule in self.rules), *(node.all_fail() for node in self.below)]
        )
        if not self.prefix:
            return none
        return pb.any_of([pb.none_of(pb.test(pb.SUBJECT, contains=self.prefix)), none])


def tree(rules: Sequence[Rule]) -> Node:
    """The rules, each under the rarest text that it needs."""
    if len(rules) <= FEW:
        return Node("", tuple(rules), ())
    needs = [_needs(rule.when) for rule in rules]
    count = Counter(text for need in needs for texts in need for text in texts)
    entries: list[_Entry] = []
    loose: list[Rule] = []
    for rule, need in zip(rules, needs, strict=True):
        if not need:
            loose.append(rule)
            continue
        first, *others = sorted(need, key=lambda texts: max(count[text] for text in texts))
        later = tuple(texts[0] for texts in others if len(texts) == 1)
        entries += [_Entry((text, *later), rule) for text in first]
    return Node("", tuple(loose), _branches(entries, 0, MAX_LEVELS))


def _branches(entries: Iterable[_Entry], known: int, levels: int) -> tuple[Node, ...]:
    """One node per next character, each as far as its texts agree. `known` characters are already asked."""
    groups: dict[str, list[_Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.texts[0][known : known + 1]].append(entry)
    return tuple(_node(groups[char], levels - 1) for char in sorted(groups))


def _node(entries: list[_Entry], levels: int) -> Node:
    first, last = min(entry.texts[0] for entry in entries), max(entry.texts[0] for entry in entries)
    same = next(
        (i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    prefix = first[:same]
    if len(entries) <= FEW or not levels:
        return Node(prefix, tuple(entry.rule for entry in entries), ())
    if first != last:
        ended = [entry for entry in entries if entry.texts[0] == prefix]
        longer = [entry for entry in entries if entry.texts[0] != prefix]
        below = _branches(longer, same, levels)
        return Node(prefix, tuple(entry.rule for entry in ended), below)
    done = tuple(entry.rule for entry in entries if len(entry.texts) == 1)
    more = [_Entry(entry.texts[1:], entry.rule) for entry in entries if len(entry.texts) > 1]
    return Node(prefix, done, _branches(more, 0, levels))


def _needs(when: Expr) -> list[list[str]]:
    """Per conjunct that asks the certificate: texts of which the subject contains at least one."""
    found = [_alternatives(item) for item in _conjuncts(when)]
    return [texts for texts in found if texts and len(texts) <= MAX_ALTERNATIVES]


def _alternatives(item: Expr) -> list[str]:
    """Empty where none can be named."""
    if isinstance(item, Or):
        each = [_alternatives(one) for one in item.items]
        return [text for texts in each for text in texts] if all(each) else []
    on_header = isinstance(item, Is | Digit) and item.field in HEADERS
    if on_header or not isinstance(item, Is | Digit | Holds | PrincipalIn):
        return []
    return [texts[-1].removeprefix("$") for texts in certificate(item)]
