"""The gate: is the peer's certificate still one that counts, and may this node still act on what it last heard?

String matching on the certificate, then one positive test of time. Everything that is not recognised is denied. Small, so
that a revocation takes effect in milliseconds on open connections.
"""

from collections.abc import Mapping

from envoy.extensions.filters.http.rbac.v3.rbac_pb2 import RBAC

from agent.envoy import cel, pb
from agent.envoy.actions import PASS, Stamp
from policies.model import Code

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
    expired = pb.act(stamp.deny(Code.LEASE_EXPIRED), allow=False)
    return pb.then(pb.in_order([(cel.before(lease_until), pb.act(stamp.name(PASS), allow=True))], expired))
