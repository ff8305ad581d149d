"""Who gets what: one pure decision for X.509, JWT and SDS alike.

1. This node is refused (revoked, locked, removed): nobody gets anything, and open streams end.
2. It does not know enough now (no trust document, lease ended, certificate below the floor or ended): nobody now.
3. A process is every workload all of whose selectors it has. None: refused, whatever it asks for.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric import ec

from agent.identity import Identity
from agent.state import Lease, narrowed_below_floor
from agent.workload.errors import NotEntitledError, NotReadyError
from certs.attributes import Attributes
from certs.bundle import TrustBundle
from policies import workloads
from policies.documents import TrustDocument
from policies.workloads import Workload


@dataclass(frozen=True, slots=True, kw_only=True)
class Svid:
    """A workload's key and certificate."""

    spiffe_id: str
    key: ec.EllipticCurvePrivateKey
    chain: tuple[bytes, ...]  # DER: leaf and CA
    epoch: int
    attributes: Attributes
    not_before: int
    not_after: int
    above: tuple[bytes, ...] = ()
    """What leads on to the root before, while the root is being changed: for verifiers that know no other."""

    @property
    def shown(self) -> tuple[bytes, ...]:
        return (*self.chain, *self.above)


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why this node serves no identities; `for_good`: open streams end."""

    text: str
    for_good: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that an answer depends on."""

    problem: Problem | None
    registered: tuple[Workload, ...] = ()
    svids: Mapping[str, Svid] = field(default_factory=dict)  # by workload name
    bundle: TrustBundle | None = None
    federated: Mapping[str, TrustBundle] = field(default_factory=dict)  # of other trust domains, by name


def standing(
    identity: Identity,
    trust: TrustDocument | None,
    lease: Lease,
    *,
    denied: bool,
    now: float,
    boottime: float,
) -> Problem | None:
    """Why this node may serve no identities; None if it may. `denied`: the control plane said so itself."""
    if denied or (trust and trust.floors.get(str(identity.spiffe_id), 1) is None):
        return Problem(text="this node is revoked", for_good=True)  # (1)
    if trust is None:
        return Problem(text="nothing has been heard from the control plane yet", for_good=False)
    if not lease.open(now, boottime):
        return Problem(text="the lease has ended: the control plane has not been heard", for_good=False)
    if narrowed_below_floor(identity, trust) or now >= identity.not_after:
        return Problem(text="this node is renewing its certificate", for_good=False)
    return None


def entitled(world: World, selectors: frozenset[str]) -> tuple[Workload, ...]:
    """What a process is; NotEntitledError if nothing, NotReadyError if that cannot be said now."""
    if world.problem is not None:
        raise (NotEntitledError if world.problem.for_good else NotReadyError)(world.problem.text)
    found = workloads.matching(world.registered, selectors)
    if not found:
        raise NotEntitledError(
            f"no identity issued: {' '.join(sorted(selectors)) or 'nothing'} is not registered"
        )
    return found


def svids(world: World, selectors: frozenset[str]) -> tuple[tuple[Workload, Svid], ...]:
    """As `entitled`, with certificates; NotReadyError while one is missing, so that the first stays the first."""
    found = entitled(world, selectors)
    missing = [workload.name for workload in found if workload.name not in world.svids]
    if missing:
        raise NotReadyError(f"the certificate of workload `{missing[0]}` is not there yet")
    return tuple((workload, world.svids[workload.name]) for workload in found)


def bundle(world: World, selectors: frozenset[str]) -> TrustBundle:
    """Whom a registered process may believe of our own trust domain."""
    entitled(world, selectors)
    if world.bundle is None:
        raise NotReadyError("there is no trust bundle yet")
    return world.bundle


def bundles(world: World, selectors: frozenset[str]) -> dict[str, TrustBundle]:
    """Whom a registered process may believe, by trust domain: ours, and those that its workloads federate with."""
    ours = bundle(world, selectors)
    named = workloads.federated(entitled(world, selectors))
    theirs = {name: world.federated[name] for name in sorted(named) if name in world.federated}
    return {**theirs, ours.trust_domain: ours}  # nobody else can stand for ours
