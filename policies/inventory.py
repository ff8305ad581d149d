"""What one node is given, and why; and which policies it is not given.

A node gets, as callee, what is left of each policy for the resources that it serves; as caller, what is left for resources of
others that some permit may let it reach; and the peers that serve those.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from policies.model import Effect, PolicyId, ResourceKey, Rule, Rules
from policies.syntax import Policy

NOT_SERVED = "names none of this node's resources, and none that it may reach"
NOT_CALLER = "names none of this node's resources; of the others, its attributes exclude it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """A peer, and the permits that may let this node call it."""

    node: str
    resources: tuple[ResourceKey, ...]
    policies: tuple[PolicyId, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """The content of one bundle. `dropped`: policy -> why it is not in it."""

    as_callee: tuple[Rule, ...]
    as_caller: tuple[Rule, ...]
    peers: tuple[Reach, ...]
    dropped: dict[PolicyId, str]


def inventory(
    policies: Sequence[Policy], ingress: Rules, egress: Rules, elsewhere: Iterable[PolicyId]
) -> Inventory:
    """`elsewhere`: policies that name some resource of another node."""
    kept = {rule.id for rule in (*ingress.rules, *egress.rules)}
    named = set(elsewhere)
    return Inventory(
        as_callee=ingress.rules,
        as_caller=egress.rules,
        peers=tuple(_reaches(egress)),
        dropped={
            policy.id: NOT_CALLER if policy.id in named else NOT_SERVED
            for policy in policies
            if policy.id not in kept
        },
    )


def _reaches(egress: Rules) -> Iterable[Reach]:
    permits = [rule for rule in egress.rules if rule.effect is Effect.PERMIT]
    for node in sorted({key.node for key in egress.resources}):
        keys = tuple(sorted(key for key in egress.resources if key.node == node))
        through = {rule.id for rule in permits if not rule.resources.isdisjoint(keys)}
        yield Reach(node=node, resources=keys, policies=tuple(sorted(through)))
