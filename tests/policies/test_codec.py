"""Blobs and payloads survive the way there and back; whatever is not exactly one of them is refused."""

import json
import random
from collections.abc import Callable

import pytest
from generated import Policies
from worlds import facts, principals

from policies import codec, payloads
from policies.compile import compile_egress, compile_ingress
from policies.documents import (
    Delegation,
    Heartbeat,
    Peer,
    PeersBlob,
    RulesBlob,
    ServedResource,
    Ticket,
    TrustDocument,
)
from policies.errors import ContentError
from policies.expressions import depth, dump_expr, load_expr, size
from policies.grammar import MAX_DEPTH, MAX_ITEMS
from policies.model import And, Bool, Expr, Field, Like, Not, Or, Rules
from policies.parse import load

TRUST = TrustDocument(
    trust_domain="acme.example",
    generation=7,
    roots=(b"r",),
    node_cas=(b"n", b"m"),
    control_plane_cas=(),
    floors={"spiffe://acme.example/fr/paris/a": None, "spiffe://acme.example/fr/paris/b": 3},
    policy_min=1,
    policy_now=2,
)
DELEGATION = Delegation(
    trust_domain="acme.example", version=1, expires=9, threshold=2, keys=(b"a" * 32, b"b" * 32)
)
TICKET = Ticket(
    trust_domain="acme.example",
    node="spiffe://acme.example/fr/paris/a",
    generation=7,
    policy_version=2,
    issued_at=1,
    rules="a" * 64,
    peers="b" * 64,
    features=("rules-1", "peers-1"),
)
HEARTBEAT = Heartbeat(trust_domain="acme.example", generation=7, trust="c" * 64, at=1, until=2)
PEERS = PeersBlob(
    peers=(
        Peer(node="a.paris", spiffe_id="spiffe://acme.example/fr/paris/a", address="10.0.0.1:7443"),
        Peer(node="b.paris", spiffe_id="spiffe://acme.example/fr/paris/b", address="[2001:db8::1]:7443"),
    )
)


def random_blob(seed: int) -> RulesBlob:
    rng = random.Random(seed)
    policies = load({"f": "\n".join(Policies(rng).some(8))})
    resources = [facts(rng, number) for number in range(6)]
    return RulesBlob(
        ingress=compile_ingress(policies, resources),
        egress=compile_egress(policies, principals(rng), resources),
        served=tuple(
            ServedResource(key=item.key, port=8000) for item in sorted(resources, key=lambda item: item.key)
        ),
    )


@pytest.mark.parametrize("seed", range(15))
def test_compiled_rules_survive_the_way_there_and_back(seed: int) -> None:
    blob = random_blob(seed)
    data = codec.dump_rules(blob)
    assert codec.load_rules(data) == blob
    assert codec.dump_rules(codec.load_rules(data)) == data


def test_equal_peers_give_equal_bytes() -> None:
    data = codec.dump_peers(PEERS)
    assert codec.load_peers(data) == PEERS
    assert codec.dump_peers(PeersBlob(peers=PEERS.peers[::-1])) == data


def test_payloads_survive_the_way_there_and_back() -> None:
    assert payloads.load_trust(payloads.dump_trust(TRUST)) == TRUST
    assert payloads.load_delegation(payloads.dump_delegation(DELEGATION)) == DELEGATION
    assert payloads.load_ticket(payloads.dump_ticket(TICKET)) == TICKET
    assert payloads.load_heartbeat(payloads.dump_heartbeat(HEARTBEAT)) == HEARTBEAT


def test_a_heartbeat_signs_no_more_than_three_hundred_bytes() -> None:
    longest = Heartbeat(
        trust_domain="x" * 64, generation=2**53 - 1, trust="c" * 64, at=2**53 - 1, until=2**53 - 1
    )
    assert len(payloads.dump_heartbeat(longest)) <= 300


LOADERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "rules": (codec.dump_rules(random_blob(3)), codec.load_rules),
    "peers": (codec.dump_peers(PEERS), codec.load_peers),
    "trust": (payloads.dump_trust(TRUST), payloads.load_trust),
    "delegation": (payloads.dump_delegation(DELEGATION), payloads.load_delegation),
    "ticket": (payloads.dump_ticket(TICKET), payloads.load_ticket),
    "heartbeat": (payloads.dump_heartbeat(HEARTBEAT), payloads.load_heartbeat),
}


@pytest.mark.parametrize("name", LOADERS)
def test_every_member_must_be_there_once_and_of_its_type(name: str) -> None:
    data, loads = LOADERS[name]
    value = json.loads(data)
    for key in value:
        for bent in (
            {other: item for other, item in value.items() if other != key},
            *(
                {**value, key: odd}
                for odd in (None, -1, True, 1.5, [None], [[]], [[None] * 3], {"": 0}, "\ud800")
            ),
            {**value, key: [value[key]]},
            {**value, "zzz": 0},
        ):
            text = json.dumps(bent, sort_keys=True, separators=(",", ":")).encode()
            if text != data:
                with pytest.raises(ContentError):
                    loads(text)


@pytest.mark.parametrize("name", LOADERS)
def test_bytes_have_one_spelling(name: str) -> None:
    data, loads = LOADERS[name]
    spaced = json.dumps(json.loads(data)).encode()
    for other in (data + b" ", spaced, data[:-1], b"", b"\xef\xbb\xbf" + data, b"[" * 10_000):
        with pytest.raises(ContentError):
            loads(other)


def bent_rules(change: Callable[[dict[str, list[object]]], None]) -> bytes:
    value = json.loads(codec.dump_rules(random_blob(3)))
    change(value["ingress"])
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda rules: rules["resources"].append(rules["resources"][0]),
        lambda rules: rules["resources"].append(["Robot", "a", "a.b"]),
        lambda rules: rules["resources"].append(["Model", "a b", "a.b"]),
        lambda rules: rules["resources"].append(["Model", "a", "a"]),
        lambda rules: rules["sets"].append([]),
        lambda rules: rules["sets"].append([0, 0]),
        lambda rules: rules["sets"].append([len(rules["resources"])]),
        lambda rules: rules["rules"][0].update(on=len(rules["sets"])),
        lambda rules: rules["rules"][0].update(effect="allow"),
        lambda rules: rules["rules"][0].update(id="UPPER"),
        lambda rules: rules["rules"][0].update(actions=[]),
        lambda rules: rules["rules"][0].update(actions=["infer"]),
        lambda rules: rules["rules"][0].update(actions=["chat", "chat"]),
        lambda rules: rules["rules"][0].update(reason="x" * 513),
        lambda rules: rules["rules"][0].update(when=["maybe"]),
    ],
)
def test_rules_that_mean_nothing_are_refused(change: Callable[[dict[str, list[object]]], None]) -> None:
    codec.load_rules(bent_rules(lambda _: None))
    with pytest.raises(ContentError):
        codec.load_rules(bent_rules(change))


@pytest.mark.parametrize(
    "value",
    [
        None,
        1,
        "true",
        [],
        {},
        ["maybe"],
        ["and"],
        ["and", True],
        ["not"],
        ["not", True, True],
        [["is"]],
        ["is", "context.data_class", ["1"]],
        ["is", "context.purpose", []],
        ["is", "context.purpose", ["a", "a"]],
        ["is", "context.stream", ["true"]],
        ["is", "context.purpose", [True]],
        ["is", "resource.name", ["a"]],
        ["digit", "context.data_class", [5]],
        ["digit", "context.data_class", [True]],
        ["digit", "context.purpose", [1]],
        ["holds", "context.purpose", "a"],
        ["has", "context.purpose"],
        ["like", "principal.tier", ["", ""]],
        ["like", "context.path", []],
        ["in", "Model", "a"],
        ["in", "Group", 1],
        ["is", "context.purpose", ["a"], 1],
        # What a rendered subject would match twice must not come in through a blob either.
        ["in", "Group", "clinical,OU=tier:4"],
        ["in", "Site", "a.b"],
        ["holds", "principal.purposes", "a,b"],
        ["is", "principal.site", ["a,OU=x"]],
        ["is", "principal.jurisdiction", ["fr"]],
    ],
)
def test_an_unknown_or_impossible_expression_is_refused(value: object) -> None:
    with pytest.raises(ContentError):
        load_expr(value)


def test_nesting_and_size_are_bounded() -> None:
    leaf = Bool(value=True)
    deep: Expr = leaf
    for _ in range(MAX_DEPTH - 1):
        deep = Not(deep)
    assert depth(deep) == MAX_DEPTH
    assert load_expr(dump_expr(deep)) == deep
    wide = And((leaf,) * (MAX_ITEMS - 1))
    assert size(wide) == MAX_ITEMS
    assert load_expr(dump_expr(wide)) == wide
    for beyond in (Not(deep), Or((wide, leaf)), And((leaf,) * MAX_ITEMS)):
        with pytest.raises(ContentError):
            load_expr(dump_expr(beyond))


def test_free_text_stays_free() -> None:
    expr = Like(Field.PATH, ('/"\\,OU=\u00e9*', ""))
    assert load_expr(dump_expr(expr)) == expr


def test_no_rules_is_a_blob_too() -> None:
    empty = Rules(rules=(), resources=frozenset())
    blob = RulesBlob(ingress=empty, egress=empty, served=())
    assert codec.load_rules(codec.dump_rules(blob)) == blob
