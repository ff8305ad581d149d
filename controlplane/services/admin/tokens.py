"""Operators who show an ID token: who they are by it, and what their groups make of them.

The first entry of the configuration whose group a person is in decides; who is in none is nobody. His name is `oidc:<sub>`: no
certificate can carry it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from certs import id_token
from certs.errors import TokenError
from certs.id_token import Expected
from certs.jws import Key
from controlplane.config import GroupRole
from controlplane.errors import DeniedError
from controlplane.services.admin.grants import Grant


class Keys(Protocol):
    """The keys of the issuer."""

    async def keys(self, key_id: str) -> Mapping[str, Key]: ...


class TokenBearers:
    """Turns a token into a grant, or refuses with DeniedError."""

    def __init__(
        self,
        keys: Keys,
        expected: Expected,
        roles: Sequence[GroupRole],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys, self._expected, self._roles, self._clock = keys, expected, roles, clock

    async def of(self, token: str) -> Grant:
        try:
            found = await self._keys.keys(id_token.key_id(token))
            bearer = id_token.verify(token, found, self._expected, int(self._clock()))
        except TokenError as exc:
            raise DeniedError(f"not an operator: {exc}", hint="writ login") from exc
        name = f"oidc:{bearer.subject}"
        for entry in self._roles:
            if entry.group in bearer.groups:
                return Grant(
                    name=name,
                    role=entry.role,
                    sites=frozenset(entry.sites),
                    credential=f"token of {bearer.issuer}",
                )
        raise DeniedError(f"`{name}` is in no group that has a role", hint="oidc.roles maps groups to roles")
