"""Decide an open stream again, on what it was decided on when it began, against what holds now. Pure.

A stream goes on iff its node may still act, its peer still counts, and the rules still allow it. Anything that cannot be
decided again ends.
"""

from agent.evidence.lines import OpenStream
from agent.identity import Identity
from agent.state import Enforceable
from certs import spiffe
from certs.attributes import Attributes, from_rendered
from certs.errors import CertError
from policies.evaluate import Evaluator
from policies.model import Principal, Request, ResourceKey


class Judge:
    """Judges streams against one state. Make a new one when the state changes."""

    def __init__(self, state: Enforceable, *, leased: bool) -> None:
        self._state, self._leased = state, leased
        rules = state.bundle.rules if state.bundle else None
        self._ingress = Evaluator(rules.ingress) if rules else None
        self._egress = Evaluator(rules.egress) if rules else None

    def may_go_on(self, stream: OpenStream) -> bool:
        if not self._leased or not self._peer_counts(stream):
            return False
        try:
            asked = request(stream, self._state.identity)
        except (CertError, ValueError):
            return False
        rules = self._ingress if stream.direction == "in" else self._egress
        return rules is not None and rules.decide(asked).allowed

    def _peer_counts(self, stream: OpenStream) -> bool:
        floors = self._state.trust.floors
        if floors.get(str(self._state.identity.spiffe_id), 1) is None:
            return False
        floor = floors.get(stream.peer, 1)
        return floor is not None and stream.epoch >= floor


def request(stream: OpenStream, mine: Identity) -> Request:
    """What policies are asked about a stream; CertError or ValueError where it does not say all of it."""
    if stream.direction == "in":
        caller, owner = spiffe.parse(stream.peer), mine.spiffe_id
        who = principal(caller, from_rendered(stream.subject)[1])
    else:
        owner = spiffe.parse(stream.peer)
        who = principal(mine.spiffe_id, mine.attributes)
    kind, _, name = stream.resource.partition("/")
    return Request(
        principal=who,
        action=stream.action,
        resource=ResourceKey(kind, name, owner.short),
        purpose=stream.purpose,
        data_class=int(stream.data_class),
        subject_region=stream.subject_region or None,
        protocol=stream.protocol,
        method=stream.method,
        path=stream.path,
        stream=stream.stream,
    )


def principal(who: spiffe.SpiffeId, attributes: Attributes) -> Principal:
    """A node as policies see it."""
    return Principal(
        node=who.short,
        site=who.site,
        jurisdiction=who.jurisdiction,
        tier=attributes.tier,
        groups=attributes.groups,
        purposes=attributes.purposes,
        regions=attributes.regions,
        class_floor=attributes.class_floor,
        class_ceiling=attributes.class_ceiling,
    )
