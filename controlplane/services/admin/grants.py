"""What an operator may be: one role, at some sites or everywhere. Pure.

1. A scope without sites is the whole mesh; what concerns the whole mesh needs it.
2. Nobody gives what he does not hold: a grant at sites can be made, changed and taken away only from a scope that holds them.
"""

from collections.abc import Collection
from dataclasses import dataclass

from controlplane.errors import DeniedError, InvalidError

ADMIN, OPERATOR, AUDITOR, CI = "admin", "operator", "auditor", "ci"
ROLES = (ADMIN, OPERATOR, AUDITOR, CI)
MAX_SITES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """Who calls, as what, where. `sites` empty: everywhere. `credential` says what proved it."""

    name: str
    role: str
    sites: frozenset[str]
    credential: str

    @property
    def everywhere(self) -> bool:
        return not self.sites

    def holds(self, sites: Collection[str]) -> bool:
        """Does the scope hold all of these sites? None of them stand for the whole mesh."""
        return self.everywhere or (bool(sites) and self.sites >= set(sites))

    def sees(self, site: str) -> bool:
        return self.everywhere or site in self.sites

    def check_holds(self, sites: Collection[str]) -> None:
        if not self.holds(sites):
            where = ", ".join(sorted(self.sites))
            what = (
                "site " + ", ".join(f"`{site[:63]}`" for site in sorted(sites)) if sites else "the whole mesh"
            )
            raise DeniedError(f"`{self.name}` is {self.role} at {where} and may not act on {what}")


def check_role(role: str) -> str:
    if role not in ROLES:
        raise InvalidError(f"`{role[:32]}` is no role", hint="roles: " + ", ".join(ROLES))
    return role
