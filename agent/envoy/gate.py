"""The gate: is the peer's certificate still one that counts, and may this node still act on what it last heard?

String maps only, on the certificate and on the time: nothing in it can err into an allow, and what is not recognised is
denied. Small, so that a revocation takes effect in milliseconds on open connections.
"""

from collections.abc import Mapping

from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from agent.envoy import pb
from agent.envoy.actions import PASS, Stamp
from policies.model import Code

NOW = "writ-now"  # Unix seconds at which the request came, set before anything runs
DIGITS = 10  # of Unix seconds, until the year 2286
EPOCHS = 9  # how far a certificate may be ahead of the floor: renewals after narrowing, before the next trust document


def ingress(floors: Mapping[str, int | None], lease_until: float, trust_domain: str, stamp: Stamp) -> RBAC:
    """Floors by SPIFFE ID (None: revoked); whoever is not named has floor 1."""
    revoked = pb.act(stamp.deny(Code.REVOKED), allow=False)
    leased = _leased(lease_until, stamp)
    entries = {
        name: revoked if floor is None else pb.then(pb.in_order([(_epochs(floor), leased)], revoked))
        for name, floor in floors.items()
    }
    # Several URI SANs are joined with commas: such a certificate is nobody's.
    single = pb.none_of(pb.test(pb.URI_SAN, contains=","))
    ours = pb.test(pb.URI_SAN, prefix=f"spiffe://{trust_domain}/")
    unnamed = pb.in_order([(pb.all_of([ours, single, _epochs(1)]), leased)], revoked)
    return RBAC(matcher=pb.exact_map(pb.URI_SAN, entries, pb.then(unnamed)))


def egress(floors: Mapping[str, int | None], lease_until: float, trust_domain: str, stamp: Stamp) -> RBAC:
    """By the peer of the selected route, which the classifier copied from route metadata; never by a Host header."""
    revoked = pb.act(stamp.deny(Code.REVOKED), allow=False)
    entries = {name: revoked for name, floor in floors.items() if floor is None}
    ours = pb.test(pb.header("writ-peer"), prefix=f"spiffe://{trust_domain}/")
    nobody = pb.act(stamp.deny(Code.PEER_UNREACHABLE), allow=False)
    named = pb.in_order([(ours, _leased(lease_until, stamp))], nobody)
    return RBAC(matcher=pb.exact_map(pb.header("writ-peer"), entries, pb.then(named)))


def closed(code: Code, stamp: Stamp) -> RBAC:
    """Deny everything: no bundle, no lease, or evidence that cannot be written."""
    return RBAC(matcher=pb.always(pb.act(stamp.deny(code), allow=False)))


def _epochs(floor: int) -> pb.Predicate:
    return pb.any_of([pb.test(pb.SUBJECT, contains=f",serialNumber={floor + i},") for i in range(EPOCHS)])


def _leased(lease_until: float, stamp: Stamp) -> pb.OnMatch:
    """Did the request come before this moment (whole seconds, rounded down: rather early than late)?

    One lookup; the comparison in CEL costs more than all else in this filter.
    """
    expired = pb.act(stamp.deny(Code.LEASE_EXPIRED), allow=False)
    passed = pb.act(stamp.name(PASS), allow=True)
    return pb.then(pb.prefix_map(pb.header(NOW), dict.fromkeys(below(int(lease_until)), passed), expired))


def below(second: int) -> list[str]:
    """What every earlier second begins with, and no later one: its digits up to one, which is smaller. About 45 prefixes."""
    digits = f"{second:0{DIGITS}d}"
    return [
        digits[:at] + smaller for at, digit in enumerate(digits) for smaller in map(str, range(int(digit)))
    ]
