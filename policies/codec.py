"""Rules and peers <-> canonical JSON: the content-addressed blobs that a ticket names. Strict, bounded, no trust.

Resources stand once in a table and rules name sets of them by index: thousands of rules share a few sets. An
operator, field or kind that this version does not know is a `ContentError`: rules are enforced whole or not at all.
"""

import hashlib
import re
from collections.abc import Sequence

from policies import decode, grammar
from policies.documents import Peer, PeersBlob, RulesBlob, ServedResource
from policies.errors import ContentError
from policies.expressions import dump_expr, load_expr
from policies.model import ACTIONS, RESOURCE_KINDS, Effect, PolicyId, ResourceKey, Rule, Rules

MAX_RULES_BYTES = 64 * 2**20
MAX_PEERS_BYTES = 8 * 2**20
MAX_RULES = 200_000  # 10,000 policies, each with a few residues
MAX_RESOURCES = 100_000
MAX_PEERS = 20_000
MAX_REASON = 512
ADDRESS = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[A-Za-z0-9.-]{1,253}):[0-9]{1,5}")


def digest(blob: bytes) -> str:
    """How a ticket and a heartbeat name bytes: SHA-256 in lower-case hex."""
    return hashlib.sha256(blob).hexdigest()


def dump_rules(blob: RulesBlob) -> bytes:
    """Equal blobs give equal bytes, so that equal rules are stored and sent once."""
    return decode.dumps(
        {
            "egress": _dump_direction(blob.egress),
            "ingress": _dump_direction(blob.ingress),
            "served": [
                [*_dump_key(item.key), item.port] for item in sorted(blob.served, key=lambda s: s.key)
            ],
        }
    )


def load_rules(data: bytes) -> RulesBlob:
    """The inverse of `dump_rules`; raises ContentError."""
    value = decode.record(decode.loads(data, MAX_RULES_BYTES), "rules", "egress", "ingress", "served")
    served = decode.items(value["served"], "served", _load_served, most=MAX_RESOURCES)
    decode.distinct(tuple(item.key for item in served), "served")
    return RulesBlob(
        ingress=_load_direction(value["ingress"]), egress=_load_direction(value["egress"]), served=served
    )


def dump_peers(blob: PeersBlob) -> bytes:
    """Sorted by node, so that equal sets give equal bytes."""
    peers = sorted(blob.peers, key=lambda peer: peer.node)
    return decode.dumps({"peers": [[peer.node, peer.spiffe_id, peer.address] for peer in peers]})


def load_peers(data: bytes) -> PeersBlob:
    """The inverse of `dump_peers`; raises ContentError."""
    value = decode.record(decode.loads(data, MAX_PEERS_BYTES), "peers", "peers")
    peers = decode.items(value["peers"], "peers", _load_peer, most=MAX_PEERS)
    decode.distinct(tuple(peer.node for peer in peers), "peers")
    decode.distinct(tuple(peer.spiffe_id for peer in peers), "peers")
    return PeersBlob(peers=peers)


def _dump_key(key: ResourceKey) -> list[object]:
    return [key.kind, key.name, key.node]


def _dump_direction(rules: Rules) -> object:
    table = sorted(rules.resources)
    index = {key: place for place, key in enumerate(table)}
    sets: dict[frozenset[ResourceKey], int] = {}
    dumped: list[object] = [
        {
            "actions": sorted(rule.actions),
            "effect": rule.effect.value,
            "id": rule.id,
            "on": sets.setdefault(rule.resources, len(sets)),
            "reason": rule.reason,
            "when": dump_expr(rule.when),
        }
        for rule in rules.rules
    ]
    return {
        "resources": [_dump_key(key) for key in table],
        "rules": dumped,
        "sets": [sorted(index[key] for key in keys) for keys in sets],
    }


def _load_direction(value: object) -> Rules:
    fields = decode.record(value, "direction", "resources", "rules", "sets")
    table = decode.items(fields["resources"], "resources", _load_key, most=MAX_RESOURCES)
    resources = decode.distinct(table, "resources")
    sets = decode.items(fields["sets"], "sets", lambda item: _load_set(item, table), most=MAX_RULES)
    rules = decode.items(fields["rules"], "rules", lambda item: _load_rule(item, sets), most=MAX_RULES)
    return Rules(rules=rules, resources=resources)


def _load_set(value: object, table: Sequence[ResourceKey]) -> frozenset[ResourceKey]:
    places = decode.items(
        value,
        "set",
        lambda item: decode.integer(item, "resource", most=len(table) - 1),
        least=1,
        most=len(table),
    )
    return decode.distinct(tuple(table[place] for place in places), "set")


def _load_rule(value: object, sets: Sequence[frozenset[ResourceKey]]) -> Rule:
    fields = decode.record(value, "rule", "actions", "effect", "id", "on", "reason", "when")
    actions = decode.items(fields["actions"], "actions", _load_action, least=1, most=len(ACTIONS))
    effects = {effect.value: effect for effect in Effect}
    effect = effects.get(decode.text(fields["effect"], "effect"))
    if effect is None:
        raise ContentError(f"unknown effect `{fields['effect']}`")
    return Rule(
        id=PolicyId(decode.text(fields["id"], "policy id", grammar.POLICY_ID)),
        effect=effect,
        actions=decode.distinct(actions, "actions"),
        resources=sets[decode.integer(fields["on"], "on", most=len(sets) - 1)],
        when=load_expr(fields["when"]),
        reason=decode.text(fields["reason"], "reason", most=MAX_REASON),
    )


def _load_action(value: object) -> str:
    action = decode.text(value, "action")
    if action not in ACTIONS:
        raise ContentError(f"unknown action `{action[:80]}`")
    return action


def _load_key(value: object) -> ResourceKey:
    if not isinstance(value, list) or len(value) != 3:  # noqa: PLR2004  # kind, name, node
        raise ContentError("a resource must be [kind, name, node]")
    kind = decode.text(value[0], "kind")
    if kind not in RESOURCE_KINDS:
        raise ContentError(f"unknown resource kind `{kind[:80]}`")
    name = decode.text(value[1], "resource name", grammar.RESOURCE_NAME)
    return ResourceKey(kind=kind, name=name, node=decode.text(value[2], "node", grammar.NODE_NAME))


def _load_served(value: object) -> ServedResource:
    if not isinstance(value, list) or not value:
        raise ContentError("a served resource must be [kind, name, node, port]")
    return ServedResource(
        key=_load_key(value[:-1]), port=decode.integer(value[-1], "port", least=1, most=65535)
    )


def _load_peer(value: object) -> Peer:
    if not isinstance(value, list) or len(value) != 3:  # noqa: PLR2004  # node, SPIFFE ID, address
        raise ContentError("a peer must be [node, SPIFFE ID, address]")
    return Peer(
        node=decode.text(value[0], "node", grammar.NODE_NAME),
        spiffe_id=decode.text(value[1], "SPIFFE ID", most=2048),
        address=decode.text(value[2], "address", ADDRESS),
    )
