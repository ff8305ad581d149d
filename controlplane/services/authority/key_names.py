"""Under which name the next key of an authority is made: a new one, or that of a key which somebody made for us in a service.

A key of a service is used once, for one authority: what was retired or tainted cannot be destroyed by us, and must not come
back. Its mark is written in the commit that first names it, and stays.
"""

import secrets
from collections.abc import Collection

from certs.keys import PublicKey, spki_sha256
from controlplane.errors import PreconditionError
from controlplane.services import rows
from controlplane.signer.base import Signer
from controlplane.store.base import Store


async def following(store: Store, signer: Signer, prefix: str) -> str:
    """The next name that begins so; PreconditionError when the service has no key left for it."""
    spares = signer.spares(prefix)
    for name in spares:
        if await store.get(_mark(signer.public_key(name))) is None:
            return name
    if spares:
        hint = "make another in the service, name it in keys.kms_file, and start this control plane again"
        raise PreconditionError(f"every key `{prefix}…` of the service was used", hint=hint)
    return f"{prefix}{secrets.token_hex(6)}"


def marks(signer: Signer, names: Collection[str]) -> dict[str, bytes]:
    """What the commit that names these keys also writes: of those that are a service's, that they are used."""
    of_service = [name for name in names if name in signer.spares(name)]
    return {_mark(signer.public_key(name)): b"{}" for name in of_service}


async def mark(store: Store, signer: Signer, names: Collection[str]) -> None:
    """At a start: keys of a service that were taken before there were marks."""
    if used := marks(signer, names):
        await store.commit(expect={}, put=used)


def _mark(public: PublicKey) -> str:
    return rows.used_key(spki_sha256(public).hex())
