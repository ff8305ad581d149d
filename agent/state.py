"""What this node may enforce right now, from what it has verified. Pure; `now` is the caller's.

Policy version v counts iff policy_min <= v <= policy_now; of those held, the newest. The lease is the earlier of two clocks:
the wall clock against the heartbeat's `until`, and a clock that counts through suspend from when the heartbeat came.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.identity import Identity
from policies.documents import TrustDocument
from policies.trusted import TrustedBundle


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Until when this node may act: `until` by the wall, `boottime_until` by CLOCK_BOOTTIME."""

    until: int = 0
    boottime_until: float = 0.0

    @classmethod
    def heard(cls, until: int, at: int, now: float, boottime: float) -> "Lease":
        """Of a heartbeat that was made `at`: a wall clock that is behind it gives no more time than it was given for."""
        return cls(until=until, boottime_until=boottime + until - max(at, now))

    def wall_until(self, now: float, boottime: float) -> float:
        """The earlier of both, as a wall-clock time."""
        return min(float(self.until), now + (self.boottime_until - boottime))

    def open(self, now: float, boottime: float) -> bool:
        return now < self.until and boottime < self.boottime_until


@dataclass(frozen=True, slots=True, kw_only=True)
class Enforceable:
    """Everything that the data plane is built from."""

    identity: Identity
    trust: TrustDocument
    bundle: TrustedBundle | None  # None: no version that counts is held
    lease: Lease


def select(bundles: Mapping[int, TrustedBundle], trust: TrustDocument) -> TrustedBundle | None:
    """The newest held version that counts. A shadow never does, whatever its number."""
    versions = [
        v for v, held in bundles.items() if trust.policy_min <= v <= trust.policy_now and not held.shadow
    ]
    return bundles[max(versions)] if versions else None


def outdated(bundles: Mapping[int, TrustedBundle], trust: TrustDocument) -> set[int]:
    """Versions that can never count again."""
    chosen = select(bundles, trust)
    newest = chosen.ticket.policy_version if chosen else trust.policy_min
    return {
        version
        for version in bundles
        if version < min(newest, trust.policy_now) or version < trust.policy_min
    }


def narrowed_below_floor(identity: Identity, trust: TrustDocument) -> bool:
    """Has the floor risen above our own certificate? Then peers refuse us until we renew."""
    floor = trust.floors.get(str(identity.spiffe_id), 1)
    return floor is not None and identity.epoch < floor
