"""Forbids and permits: `Rules` as the two RBAC filters behind the gate.

Both look up what is exact first: at egress the peer of the route, then action, then resource. Under each stand only the
rules about it.
Forbids: each named on its own, for attribution; then all of them once more as one positive CEL conjunction of negations,
which must be true. A forbid that cannot be evaluated therefore denies (`unevaluable`), whatever order they are in.
Permits: the first that holds allows; nothing else does.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC
from xds.type.matcher.v3.matcher_pb2 import Matcher

from agent.envoy import cel, lower, pb
from agent.envoy.actions import ALLOW, PASS, Stamp
from policies.model import Bool, Code, Effect, ResourceKey, Rule, Rules

Leaf = Callable[[list[Rule]], pb.OnMatch]
Peers = Mapping[str, str]
"""`<node>.<site>` -> SPIFFE ID, for egress."""


def forbids(rules: Rules, peers: Peers | None, stamp: Stamp) -> RBAC:
    """The second filter. `peers` None: ingress."""
    chosen = [rule for rule in rules.rules if rule.effect is Effect.FORBID]
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
    return RBAC(
        matcher=pb.exact_map(pb.header("writ-verdict"), {**refused, "ok": pb.then(tree)}, unevaluable)
    )


def permits(rules: Rules, peers: Peers | None, stamp: Stamp) -> RBAC:
    """The third filter. A resource that exists and is not permitted differs from one that does not exist."""
    chosen = [rule for rule in rules.rules if rule.effect is Effect.PERMIT]
    index = _index(chosen, peers)
    for key in rules.resources:
        for action in {action for rule in chosen for action in rule.actions}:
            index[_peer(key, peers)][action].setdefault(f"{key.kind}/{key.name}", [])
    no_permit = pb.act(stamp.deny(Code.NO_PERMIT), allow=False)
    unknown = pb.act(stamp.deny(Code.UNKNOWN_RESOURCE), allow=False)
    known = pb.exact_map(
        pb.header("writ-resource"), {f"{key.kind}/{key.name}": no_permit for key in rules.resources}, unknown
    )
    tree = _tree(
        index, lambda found: _permit_leaf(found, stamp), unknown, pb.then(known), egress=peers is not None
    )
    ready = {"ok": pb.then(tree)}
    unevaluable = pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)
    return RBAC(matcher=pb.exact_map(pb.header("writ-verdict"), ready, unevaluable))


def union(old: Rules, new: Rules) -> Rules:
    """What is forbidden before or after: in force while permits change, so that nothing opens in between."""
    return Rules(rules=(*old.rules, *new.rules), resources=old.resources | new.resources)


Index = defaultdict[str, defaultdict[str, dict[str, list[Rule]]]]


def _index(rules: Iterable[Rule], peers: Peers | None) -> Index:
    """Peer -> action -> resource -> rules, in order."""
    index: Index = defaultdict(lambda: defaultdict(dict))
    for rule in rules:
        for key in rule.resources:
            for action in rule.actions:
                index[_peer(key, peers)][action].setdefault(f"{key.kind}/{key.name}", []).append(rule)
    return index


def _peer(key: ResourceKey, peers: Peers | None) -> str:
    return "" if peers is None else peers.get(key.node, "")


def _tree(
    index: Index, leaf: Leaf, no_resource: pb.OnMatch, no_action: pb.OnMatch, *, egress: bool
) -> Matcher:
    by_peer = {peer: _by_action(actions, leaf, no_resource, no_action) for peer, actions in index.items()}
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
    branches = {
        action: pb.then(
            pb.exact_map(
                pb.header("writ-resource"),
                {name: leaf(found) for name, found in resources.items()},
                no_resource,
            )
        )
        for action, resources in actions.items()
    }
    return pb.exact_map(pb.header("writ-action"), branches, no_action)


def _forbid_leaf(rules: list[Rule], stamp: Stamp) -> pb.OnMatch:
    rows = []
    b = cel.Builder()
    for rule in rules:
        named = pb.act(stamp.deny(Code.FORBIDDEN, rule.id), allow=False)
        if rule.when == Bool(value=True):
            return named
        rows.append((lower.predicate(rule.when), named))
    none = b.both([b.call("!_", lower.expression(rule.when, b)) for rule in rules])
    rows.append((cel.predicate(none), pb.act(stamp.name(PASS), allow=True)))
    return pb.then(pb.in_order(rows, pb.act(stamp.deny(Code.UNEVALUABLE), allow=False)))


def _permit_leaf(rules: list[Rule], stamp: Stamp) -> pb.OnMatch:
    rows = []
    otherwise = pb.act(stamp.deny(Code.NO_PERMIT), allow=False)
    for rule in rules:
        allowed = pb.act(stamp.name(ALLOW, rule.id), allow=True)
        if rule.when == Bool(value=True):
            otherwise = allowed  # unconditional: those after it cannot matter
            break
        rows.append((lower.predicate(rule.when), allowed))
    return pb.then(pb.in_order(rows, otherwise))
