"""Authorities of every kind under one roof: issuing CAs and JWT keys, found by key id, for operators and for the schedule."""

from certs.profile import CaKind
from controlplane.authority_rows import CaRow, JwtKeyRow
from controlplane.errors import InvalidError
from controlplane.services.authority.ca_authorities import CaAuthorities
from controlplane.services.authority.jwt_authorities import JwtAuthorities

JWT = "jwt"
KINDS = (JWT, *(kind.value for kind in CaKind))
Row = CaRow | JwtKeyRow


class Lifecycle:
    """Decides nothing: each kind has its own rules."""

    def __init__(self, cas: CaAuthorities, jwt_keys: JwtAuthorities) -> None:
        self.cas, self.jwt_keys = cas, jwt_keys

    async def all(self) -> list[Row]:
        return [*await self.cas.all(), *await self.jwt_keys.all()]

    async def prepare(self, kind: str) -> Row:
        if kind == JWT:
            return await self.jwt_keys.prepare()
        return await self.cas.prepare(ca_kind(kind))

    async def request(self, kind: str) -> tuple[CaRow, bytes]:
        """The row of a CA that waits for the root, and what the root's holder is to sign; as often as it is asked for."""
        row = await self.cas.prepare(ca_kind(kind))
        return row, self.cas.request(row)

    async def activate(self, key_id: str, *, force: bool) -> Row:
        if await self._is_ca(key_id):
            return await self.cas.activate(key_id, force=force)
        return await self.jwt_keys.activate(key_id, force=force)

    async def retire(self, key_id: str, *, force: bool) -> Row:
        if await self._is_ca(key_id):
            return await self.cas.retire(key_id, force=force)
        return await self.jwt_keys.retire(key_id, force=force)

    async def _is_ca(self, key_id: str) -> bool:
        return any(row.key_id == key_id for row in await self.cas.all())


def ca_kind(kind: str) -> CaKind:
    try:
        return CaKind(kind)
    except ValueError as exc:
        raise InvalidError(f"`{kind[:64]}` is no kind of authority", hint=", ".join(KINDS)) from exc
