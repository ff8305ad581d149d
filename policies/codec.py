"""Rules and peers as canonical JSON, so that equal content has one digest. Strict both ways, bounded.

Short keys and positional lists: a blob is read by machines, pushed to many, and kept in memory.
"""

import hashlib
from typing import Any

from certs import canonical
from certs.errors import EnvelopeError
from policies import model
from policies.documents import Peer, PeersBlob, RulesBlob, ServedResource
from policies.errors import ContentError
from policies.model import (
    And,
    Bool,
    Digit,
    Effect,
    Expr,
    Field,
    Has,
    Holds,
    Is,
    Like,
    Not,
    Or,
    PolicyId,
    PrincipalIn,
    ResourceKey,
    Rule,
    Rules,
)

MAX_BLOB_BYTES = 32 << 20
VERSION = 1
MAX_EXPR_DEPTH = 48


def digest(data: bytes) -> str:
    """What names a blob or a payload: SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def dump_rules(blob: RulesBlob) -> bytes:
    served = [[*_key(one.key), one.port] for one in sorted(blob.served, key=lambda one: one.key)]
    return canonical.dumps(
        {"v": VERSION, "in": _rules(blob.ingress), "out": _rules(blob.egress), "served": served}
    )


def load_rules(data: bytes) -> RulesBlob:
    """ContentError unless `data` is exactly what `dump_rules` makes."""
    try:
        document = _document(data, {"v", "in", "out", "served"})
        served = tuple(
            ServedResource(key=ResourceKey(*one[:3]), port=_port(one[3])) for one in document["served"]
        )
        return RulesBlob(
            ingress=_load_rules(document["in"]), egress=_load_rules(document["out"]), served=served
        )
    except (KeyError, ValueError, TypeError, IndexError) as exc:
        raise ContentError(f"rules are malformed: {exc}") from exc


def dump_peers(blob: PeersBlob) -> bytes:
    peers = [
        [peer.node, peer.spiffe_id, peer.address] for peer in sorted(blob.peers, key=lambda peer: peer.node)
    ]
    return canonical.dumps({"v": VERSION, "peers": peers})


def load_peers(data: bytes) -> PeersBlob:
    """ContentError unless `data` is exactly what `dump_peers` makes."""
    try:
        document = _document(data, {"v", "peers"})
        return PeersBlob(peers=tuple(Peer(node=n, spiffe_id=i, address=a) for n, i, a in document["peers"]))
    except (KeyError, ValueError, TypeError) as exc:
        raise ContentError(f"peers are malformed: {exc}") from exc


def _document(data: bytes, keys: set[str]) -> dict[str, Any]:
    try:
        document = canonical.loads(data, MAX_BLOB_BYTES)
    except EnvelopeError as exc:
        raise ContentError(str(exc)) from exc
    if not isinstance(document, dict) or set(document) != keys or document["v"] != VERSION:
        raise ContentError("blob is of another version or shape")
    return document


def _port(value: object) -> int:
    if not isinstance(value, int) or not 0 < value < 65536:  # noqa: PLR2004 - TCP
        raise ValueError(f"port `{value}`")
    return value


def _key(key: ResourceKey) -> list[canonical.Json]:
    return [key.kind, key.name, key.node]


def _rules(rules: Rules) -> canonical.Json:
    keys = sorted(rules.resources)
    number = {key: i for i, key in enumerate(keys)}
    rows = [
        [
            rule.id,
            rule.effect is Effect.PERMIT,
            sorted(rule.actions),
            sorted(number[key] for key in rule.resources),
            _expr(rule.when),
            rule.reason,
        ]
        for rule in rules.rules
    ]
    return {"keys": [_key(key) for key in keys], "rules": rows}  # type: ignore[dict-item]


def _load_rules(document: dict[str, Any]) -> Rules:
    keys = [ResourceKey(*_strings(key)) for key in document["keys"]]
    rules = []
    for name, permit, actions, resources, when, reason in document["rules"]:
        if not set(actions) <= model.ACTIONS:
            raise ValueError("unknown action")
        rules.append(
            Rule(
                id=PolicyId(name),
                effect=Effect.PERMIT if permit is True else Effect.FORBID,
                actions=frozenset(actions),
                resources=frozenset(keys[number] for number in resources),
                when=_load_expr(when, 0),
                reason=reason,
            )
        )
    return Rules(rules=tuple(rules), resources=frozenset(keys))


def _strings(values: list[object]) -> list[str]:
    if not all(isinstance(value, str) for value in values):
        raise ValueError("text was expected")
    return [str(value) for value in values]


def _expr(when: Expr) -> canonical.Json:
    match when:
        case Bool(value):
            return value
        case Is(field, values):
            return ["is", field.value, *sorted(values)]  # type: ignore[list-item, type-var]
        case Digit(field, digits):
            return ["digit", field.value, *sorted(digits)]
        case Holds(field, word):
            return ["holds", field.value, word]
        case Like(field, parts):
            return ["like", field.value, *parts]
        case Has(field):
            return ["has", field.value]
        case PrincipalIn(kind, name):
            return ["in", kind, name]
        case Not(item):
            return ["not", _expr(item)]
        case And(items):
            return ["and", *map(_expr, items)]
        case Or(items):
            return ["or", *map(_expr, items)]
    raise RuntimeError(f"no form for `{type(when).__name__}`")


def _load_expr(form: Any, depth: int) -> Expr:
    if depth > MAX_EXPR_DEPTH:
        raise ValueError("a condition is nested too deep")
    if isinstance(form, bool):
        return Bool(form)
    match form:
        case ["is", str(field), *values] if values and len({type(v) for v in values} & {str, bool}) == 1:
            return Is(Field(field), frozenset(values))
        case ["digit", str(field), *digits] if digits and all(
            digit in range(model.CLASS_MAX + 1) for digit in digits
        ):
            return Digit(Field(field), frozenset(digits))
        case ["holds", str(field), str(word)]:
            return Holds(Field(field), word)
        case ["like", str(field), *parts]:
            return Like(Field(field), tuple(_strings(parts)))
        case ["has", str(field)]:
            return Has(Field(field))
        case ["in", str(kind), str(name)]:
            return PrincipalIn(kind, name)
        case ["not", item]:
            return Not(_load_expr(item, depth + 1))
        case ["and", *items] if len(items) > 1:
            return And(tuple(_load_expr(item, depth + 1) for item in items))
        case ["or", *items] if len(items) > 1:
            return Or(tuple(_load_expr(item, depth + 1) for item in items))
    raise ValueError("unknown condition")
