"""Forbids and permits: `Rules` as the two RBAC filters behind the gate.

Both look up what is exact first: at egress the peer of the route, then action, then resource. Under each stand only the
rules about it, as a search (`index`).
Forbids: first, no claim may have come twice; then everything that any rule reads must be there and well formed, or nothing passes; from then on native
matchers cannot fail. Then each forbid is named, for attribution. Where some need CEL, which can fail, all of those must
also be certain to fail. A forbid that cannot be evaluated therefore denies (`unevaluable`), whatever order they are in.
Permits: one that holds allows; nothing else does.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from xds.type.matcher.v3.matcher_pb2 import Matcher

from agent.envoy import index, inputs, lower, pb
from agent.envoy.actions import ALLOW, PASS, Stamp
from policies.documents import RulesBlob
from policies.model import Bool, Code, Effect, ResourceKey, Rule, Rules

Leaf = Callable[[list[Rule]], pb.OnMatch]
LARGE = 32  # rules: below it copies are cheaper than tests
Peers = Mapping[str, str]
"""`<node>.<site>` -> SPIFFE ID, for egress."""


def forbids(rules: Rules, peers: Peers | None, stamp: Stamp) -> RBAC:
    """The second filter. `peers` None: ingress."""
    chosen = [rule for rule in rules.rules if _is_forbid(rule)]
    passed = pb.act(stamp.name(PASS), allow=True)
    tree = _tree(
        _index(chosen, peers),
        lambda found: _forbid_leaf(found, stamp),
        passed,
        passed,
        egress=peers is not None,
    )
    refused = {
        code.value: pb.act(stamp.deny(code), allow=False)
        for code in (Code.UNREADABLE_BODY, Code.CLAIM_NOT_ALLOWED, Code.UNKNOWN_RESOURCE)
    }
    unevaluable = pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)
    ready = inputs.well_formed(rule.when for rule in rules.rules)
    several = pb.act(stamp.deny(Code.CLAIM_NOT_ALLOWED), allow=False)
    asked = pb.then(pb.in_order([(pb.all_of(ready), pb.then(tree))], unevaluable)) if ready else pb.then(tree)
    verdicts = pb.exact_map(pb.header("writ-verdict"), {**refused, "ok": asked}, unevaluable)
    return RBAC(matcher=pb.in_order([(inputs.claimed_twice(), several)], pb.then(verdicts)))


def permits(rules: Rules, peers: Peers | None, stamp: Stamp) -> RBAC:
    """The third filter. A resource that exists and is not permitted differs from one that does not exist."""
    chosen = [rule for rule in rules.rules if rule.effect is Effect.PERMIT]
    places = _index(chosen, peers)
    for key in rules.resources:
        for action in {action for rule in chosen for action in rule.actions}:
            places[_peer(key, peers)][action].setdefault(f"{key.kind}/{key.name}", [])
    no_permit = pb.act(stamp.deny(Code.NO_PERMIT), allow=False)
    unknown = pb.act(stamp.deny(Code.UNKNOWN_RESOURCE), allow=False)
    known = pb.exact_map(
        pb.header("writ-resource"), {f"{key.kind}/{key.name}": no_permit for key in rules.resources}, unknown
    )
    tree = _tree(
        places, lambda found: _permit_leaf(found, stamp), unknown, pb.then(known), egress=peers is not None
    )
    ready = {"ok": pb.then(tree)}
    unevaluable = pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)
    return RBAC(matcher=pb.exact_map(pb.header("writ-verdict"), ready, unevaluable))


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What one state of the second filter, in both directions, refuses beyond another."""

    narrows: bool
    """The new one refuses something that the old one passes."""
    widens: bool
    """The old one refuses something that the new one passes."""
    between: RulesBlob
    """Refuses all that either refuses: in force while permits change, so that nothing opens in between."""


def change(old: RulesBlob, new: RulesBlob, *, moved: bool) -> Change:
    """Both where it cannot be told. `moved`: peers have changed, or `old` may not be all that is in force."""
    before = _refusals(old.ingress), _refusals(old.egress)
    after = _refusals(new.ingress), _refusals(new.egress)
    narrows = moved or any(not there <= here for here, there in zip(before, after, strict=True))
    widens = moved or any(not here <= there for here, there in zip(before, after, strict=True))
    both = RulesBlob(
        ingress=_union(old.ingress, new.ingress), egress=_union(old.egress, new.egress), served=()
    )
    return Change(narrows=narrows, widens=widens, between=both if widens else new)


def _refusals(rules: Rules) -> frozenset[object]:
    """All that the second filter refuses by: its rules, and what any rule reads, which must be there."""
    forbidden = {
        (rule.id, rule.actions, rule.resources, rule.when) for rule in rules.rules if _is_forbid(rule)
    }
    return frozenset(forbidden | inputs.read(rule.when for rule in rules.rules))


def _is_forbid(rule: Rule) -> bool:
    return rule.effect is Effect.FORBID


def _union(old: Rules, new: Rules) -> Rules:
    return Rules(rules=(*old.rules, *new.rules), resources=old.resources | new.resources)


Places = defaultdict[str, defaultdict[str, dict[str, list[Rule]]]]


def _index(rules: Iterable[Rule], peers: Peers | None) -> Places:
    """Peer -> action -> resource -> rules, in order."""
    places: Places = defaultdict(lambda: defaultdict(dict))
    for rule in rules:
        for key in rule.resources:
            for action in rule.actions:
                places[_peer(key, peers)][action].setdefault(f"{key.kind}/{key.name}", []).append(rule)
    return places


def _peer(key: ResourceKey, peers: Peers | None) -> str:
    return "" if peers is None else peers.get(key.node, "")


def _tree(
    places: Places, leaf: Leaf, no_resource: pb.OnMatch, no_action: pb.OnMatch, *, egress: bool
) -> Matcher:
    by_peer = {peer: _by_action(actions, leaf, no_resource, no_action) for peer, actions in places.items()}
    if not egress:
        return by_peer.get("", pb.always(no_action))
    branches = {peer: pb.then(tree) for peer, tree in by_peer.items() if peer}
    return pb.exact_map(pb.header("writ-peer"), branches, no_action)


def _by_action(
    actions: Mapping[str, Mapping[str, list[Rule]]],
    leaf: Leaf,
    no_resource: pb.OnMatch,
    no_action: pb.OnMatch,
) -> Matcher:
    by_places: dict[Hashable, list[str]] = defaultdict(list)
    for action, resources in actions.items():
        by_places[tuple((name, tuple(map(id, found))) for name, found in sorted(resources.items()))].append(
            action
        )
    return _map(
        "writ-action",
        [
            (
                names,
                sum(map(len, actions[names[0]].values())),
                pb.then(_by_resource(actions[names[0]], leaf, no_resource)),
            )
            for names in by_places.values()
        ],
        no_action,
    )


def _by_resource(resources: Mapping[str, list[Rule]], leaf: Leaf, no_resource: pb.OnMatch) -> Matcher:
    alike: dict[Hashable, list[str]] = defaultdict(list)
    for name, found in resources.items():
        alike[tuple(map(id, found))].append(name)
    return _map(
        "writ-resource",
        [(names, len(resources[names[0]]), leaf(resources[names[0]])) for names in alike.values()],
        no_resource,
    )


def _map(
    header: str, branches: Sequence[tuple[list[str], int, pb.OnMatch]], otherwise: pb.OnMatch
) -> Matcher:
    """One lookup. A branch that many values share and that is large stands once, in front, behind a test for them."""
    shared = [(names, then) for names, size, then in branches if len(names) > 1 and size >= LARGE]
    mapped = {
        name: then for names, size, then in branches if len(names) == 1 or size < LARGE for name in names
    }
    single = pb.exact_map(pb.header(header), mapped, otherwise)
    if not shared:
        return single
    rows = [
        (pb.any_of([pb.test(pb.header(header), exact=name) for name in names]), then)
        for names, then in shared
    ]
    return pb.in_order(rows, pb.then(single))


def _forbid_leaf(rules: list[Rule], stamp: Stamp) -> pb.OnMatch:
    def named(rule: Rule) -> pb.OnMatch:
        return pb.act(stamp.deny(Code.FORBIDDEN, rule.id), allow=False)

    unevaluable = pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)
    passed = pb.act(stamp.name(PASS), allow=True)

    def search(found: list[Rule]) -> pb.OnMatch:
        rows = index.tree(found).rows(named, unevaluable)
        fallible = [rule for rule in found if not lower.is_native(rule.when)]
        if not fallible:
            return pb.then(pb.in_order(rows, passed))
        return pb.then(pb.in_order([*rows, (index.tree(fallible).all_fail(), passed)], unevaluable))

    return _told(rules, _always(rules, named) or index.by_header(rules, search), unevaluable)


def _permit_leaf(rules: list[Rule], stamp: Stamp) -> pb.OnMatch:
    def named(rule: Rule) -> pb.OnMatch:
        return pb.act(stamp.name(ALLOW, rule.id), allow=True)

    nothing = pb.act(stamp.deny(Code.NO_PERMIT), allow=False)
    unevaluable = pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)

    def search(found: list[Rule]) -> pb.OnMatch:
        return pb.then(pb.in_order(index.tree(found).rows(named, nothing), nothing))

    return _told(rules, _always(rules, named) or index.by_header(rules, search), unevaluable)


def _told(rules: list[Rule], asked: pb.OnMatch, unevaluable: pb.OnMatch) -> pb.OnMatch:
    """Where rules ask for arguments of a tool: only once the classifier has looked for them all."""
    ready = inputs.arguments(rule.when for rule in rules)
    return pb.then(pb.in_order([(pb.all_of(ready), asked)], unevaluable)) if ready else asked


def _always(rules: list[Rule], named: index.Act) -> pb.OnMatch | None:
    """A rule without a condition decides: no other can matter."""
    return next((named(rule) for rule in rules if rule.when == Bool(value=True)), None)
