"""What an agent is told, as a harness: a verifier that has heard everything once is offered one document more."""

from collections.abc import Callable
from dataclasses import dataclass, field

from attacks.control import Attack
from pki import NOW
from signed import PEERS, RULES, Signed, blobs

from policies.errors import DocumentError
from policies.trusted import TrustedDocuments

BLOBS = blobs(RULES, PEERS)
SIGNED, OTHER = Signed(), Signed()
"""A control plane, and another one that signs just as well."""


def settled() -> TrustedDocuments:
    """A node that has heard everything once."""
    node = SIGNED.node()
    node.update_delegation(SIGNED.delegation(), NOW)
    node.update_trust(SIGNED.trust(), NOW)
    node.update_heartbeat(SIGNED.heartbeat(), NOW)
    node.update_ticket(SIGNED.ticket(), BLOBS, NOW)
    return node


@dataclass
class Listener:
    """A node that is offered documents. An attack got through if one was accepted, or refused and yet left something."""

    node: TrustedDocuments = field(default_factory=settled)

    def through(self, attack: Attack) -> bool:
        self.node = settled()
        return bool(attack(self.node))


def accepted(node: TrustedDocuments, offer: Callable[[], object]) -> bool:
    before = _state(node)
    try:
        offer()
    except DocumentError:
        return _state(node) != before
    return True


def _state(node: TrustedDocuments) -> tuple:
    return node.highest, node.delegation, node.trust, node.heartbeat, node.roots


def delegation(make: Callable[[], bytes], now: int = NOW) -> Attack:
    return lambda node: accepted(node, lambda: node.update_delegation(make(), now))


def trust(make: Callable[[], bytes], now: int = NOW) -> Attack:
    return lambda node: accepted(node, lambda: node.update_trust(make(), now))


def heartbeat(make: Callable[[], bytes], now: int = NOW) -> Attack:
    return lambda node: accepted(node, lambda: node.update_heartbeat(make(), now))


def ticket(make: Callable[[], bytes], now: int = NOW, given: dict[str, bytes] = BLOBS) -> Attack:
    return lambda node: accepted(node, lambda: node.update_ticket(make(), given, now))


def after(first: Callable[[TrustedDocuments], object], attack: Attack) -> Attack:
    """The node has accepted something else before."""

    def both(node: TrustedDocuments) -> bool:
        first(node)
        return bool(attack(node))

    return both
