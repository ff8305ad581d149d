"""The delegation of document keys: the next version of it, and renewing it in time where the root is.

Without a delegation that lasts, agents refuse every document: a mesh that nobody joins or leaves must not stop after a year.
"""

from collections.abc import Callable, Collection
from dataclasses import replace

from certs import envelope
from controlplane import model
from controlplane.authority_rows import DelegationRow
from controlplane.services import rows
from controlplane.services.authority.authorities import Authorities
from controlplane.services.authority.standing import Standing
from controlplane.services.mesh import setup
from controlplane.services.mesh.replicas import is_signed, read_delegation
from controlplane.store.base import Store
from policies import documents as d
from policies import payloads

RENEW_SHARE = 1 / 3  # of its life that is left


def next_version(
    base: d.Delegation, keys: Collection[bytes], made: Authorities, now: int, by: Standing | None = None
) -> bytes:
    """DSSE JSON by the root that signs, for these document keys; `by` the one that is to sign next."""
    document = replace(
        base,
        version=base.version + 1,
        expires=now + setup.DELEGATION_LIFETIME_S,
        keys=tuple(sorted(keys)),
    )
    by_root = ("root", made.signing((by or made.now).key_name))
    return envelope.sign_envelope(d.TYPE_DELEGATION, payloads.dump_delegation(document), [by_root]).to_json()


async def renew_if_due(store: Store, made: Authorities, clock: Callable[[], float]) -> bool:
    """For the same keys, when it has little left. ConflictError when somebody joined or left meanwhile: look again."""
    newest = await rows.find(store, DelegationRow, rows.DELEGATION)
    if newest is None:
        return False
    now, base = int(clock()), read_delegation(newest.row.envelope.encode(), *made.roots)
    lasts = base.expires - now > RENEW_SHARE * setup.DELEGATION_LIFETIME_S
    if lasts and is_signed(newest.row.envelope.encode(), made.now.signing):
        return False
    text = next_version(base, base.keys, made, now).decode()
    row = DelegationRow(version=base.version + 1, envelope=text)
    await store.commit(
        expect={newest.key: newest.revision}, put={newest.key: model.dump(row), rows.MESH: b"{}"}
    )
    return True
