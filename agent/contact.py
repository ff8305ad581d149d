"""First contact with a mesh that may have changed its root since this node last heard of it.

What a server shows is held against the roots that are known. If nothing there holds, it is asked, over a channel to whoever
it is, how the root was changed: each change is signed by the roots themselves, so that it does not matter who hands it over.
"""

import grpc

from agent import channel, identity
from agent.errors import EnrolError, IdentityError
from certs.errors import CertError
from controlplane.api.gen import enrolment_pb2, enrolment_pb2_grpc
from policies import roots
from policies.errors import DocumentError
from policies.roots import Roots

CALL_S = 10
SHOWN = 2  # at the least: a certificate and its CA


async def meet(address: str, known: Roots | str, now: int) -> tuple[Roots, bytes]:
    """The roots that are believed now, and a control-plane CA (DER) below one of them. `known` may be a root's SHA-256, hex.

    EnrolError when neither what is shown nor any change of the root leads there.
    """
    chain = await channel.shown(address)
    try:
        held = known if isinstance(known, Roots) else roots.pinned(channel.of_hash(chain, known, address))
        return held, channel.below(held.believed, chain, address, now)
    except EnrolError:
        led = await _led(address, known, chain)
        if led is None:
            raise
        return led, channel.below(led.believed, chain, address, now)


async def _led(address: str, known: Roots | str, chain: list[bytes]) -> Roots | None:
    """Where changes of the root lead to from what is known; None when they do not begin there."""
    if len(chain) < SHOWN:
        return None
    try:
        trust_domain = identity.trust_domain(chain[1])
        changes = await _changes(address, trust_domain, chain[1])
        if isinstance(known, str):
            root = roots.named(changes, known)
            known = roots.pinned(root) if root is not None else known
        if isinstance(known, str):
            return None
        return roots.follow(known, changes, identity.trust_domain(known.newest))
    except (CertError, DocumentError, IdentityError, RuntimeError) as exc:
        raise EnrolError(
            f"`{address}` shows a root that ours does not vouch for: {exc}",
            hint="is this the right mesh? If it is, enrol again with a new join token",
        ) from exc


async def _changes(address: str, trust_domain: str, ca: bytes) -> list[bytes]:
    async with channel.anonymous(address, trust_domain, ca) as open_:
        stub = enrolment_pb2_grpc.EnrolmentStub(open_)
        try:
            reply = await stub.ListRootChanges(enrolment_pb2.ListRootChangesRequest(), timeout=CALL_S)
        except grpc.aio.AioRpcError:
            return []  # one that knows no changes, or whose certificate is not even its own CA's
    return list(reply.changes)
