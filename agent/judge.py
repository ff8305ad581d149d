"""Decide an open stream again, on what it was decided on when it began, against what holds now. Pure.

A stream goes on iff its node may still act, its peer still counts, and the rules still allow it, at this hour too. Anything
that cannot be decided again ends.
"""

import ipaddress

from agent.evidence.lines import OpenStream
from agent.identity import Identity
from agent.state import Enforceable
from certs import spiffe
from certs.attributes import Attributes, from_rendered
from certs.errors import CertError
from policies import arguments
from policies.evaluate import Evaluator
from policies.model import Principal, Request, ResourceKey


class Judge:
    """Judges streams against one state. Make a new one when the state changes."""

    def __init__(self, state: Enforceable, *, leased: bool) -> None:
        self._state, self._leased = state, leased
        rules = state.bundle.rules if state.bundle else None
        self._ingress = Evaluator(rules.ingress) if rules else None
        self._egress = Evaluator(rules.egress) if rules else None

    def may_go_on(self, stream: OpenStream, now_ms: int) -> bool:
        if not self._leased or not self._peer_counts(stream):
            return False
        try:
            asked = request(stream, self._state.identity, now_ms)
        except (CertError, ValueError):
            return False
        rules = self._ingress if stream.direction == "in" else self._egress
        return rules is not None and rules.decide(asked).allowed

    def holds_until(self, now_ms: int) -> int | None:
        """When a condition on time may next turn, so that every stream must be judged again; None: never."""
        turns = [
            turn
            for rules in (self._ingress, self._egress)
            if rules is not None and (turn := rules.holds_until(now_ms)) is not None
        ]
        return min(turns, default=None)

    def _peer_counts(self, stream: OpenStream) -> bool:
        floors = self._state.trust.floors
        if floors.get(str(self._state.identity.spiffe_id), 1) is None:
            return False
        floor = floors.get(stream.peer, 1)
        return floor is not None and stream.epoch >= floor


def request(stream: OpenStream, mine: Identity, now_ms: int) -> Request:
    """What policies are asked about a stream; CertError or ValueError where it does not say all of it."""
    if not (stream.purpose and stream.protocol and stream.method and stream.path):
        raise ValueError("a stream without what it was decided on")
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
        now_ms=now_ms,
        source_ip=_address(stream.source) if stream.direction == "in" else None,
        arguments=arguments.read(stream.arguments),
    )


def _address(source: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Of `192.0.2.1:4711` or `[2001:db8::1]:4711`. None: rules that ask for it cannot be evaluated."""
    try:
        return ipaddress.ip_address(source.rpartition(":")[0].strip("[]"))
    except ValueError:
        return None


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
