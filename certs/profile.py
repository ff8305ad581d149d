"""How long certificates live. Short: expiry is the revocation that needs no network."""

from dataclasses import dataclass
from enum import Enum

from certs.errors import ProfileError

ROOT_LIFETIME_S = 10 * 365 * 86400
CA_LIFETIME_S = 30 * 86400
OPERATOR_LIFETIME_S = 12 * 3600
MIN_LIFETIME_S, MAX_LIFETIME_S = 20, 86400
MAX_BACKDATE_S = 600


class CaKind(Enum):
    """What an issuing CA signs. The value is its subject's OU: a node CA can make no control plane.

    Sidecars accept node CAs alone: the certificate of a workload opens none.
    """

    NODE = "node"
    CONTROL_PLANE = "control-plane"
    WORKLOAD = "workload"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """Lifetime of leaves. Backdated, because verifiers have no leeway and clocks differ."""

    lifetime_s: int = 3600
    backdate_s: int = 60

    def __post_init__(self) -> None:
        if not MIN_LIFETIME_S <= self.lifetime_s <= MAX_LIFETIME_S:
            raise ProfileError(f"lifetime `{self.lifetime_s}` s is not {MIN_LIFETIME_S} to {MAX_LIFETIME_S}")
        if not 0 <= self.backdate_s <= MAX_BACKDATE_S:
            raise ProfileError(f"backdate `{self.backdate_s}` s is not 0 to {MAX_BACKDATE_S}")
