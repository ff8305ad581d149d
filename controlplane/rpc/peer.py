"""Who calls: read from the TLS peer's certificate, on every call, and from nowhere else.

1. TLS 1.3, with a client certificate: gRPC's Python API cannot forbid 1.2, so it is refused here too.
2. The certificate is verified again against the CA for the role: the handshake accepts nodes and operators alike.
3. A node's epoch is held against the floor at every call: an open connection outlives a revocation.
"""

import time
from collections.abc import Callable

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs.errors import CertError
from certs.spiffe import SpiffeId
from certs.verify import NodeIdentity, verify_node, verify_operator
from controlplane import model
from controlplane.errors import DeniedError
from controlplane.services import rows
from controlplane.services.authorities import Authorities
from controlplane.store.base import Store

Context = grpc.aio.ServicerContext


class Peers:
    """Turns a call's TLS context into a verified caller, or refuses with DeniedError."""

    def __init__(self, store: Store, made: Authorities, clock: Callable[[], float] = time.time) -> None:
        self._store, self._made, self._clock = store, made, clock

    async def node(self, context: Context) -> NodeIdentity:
        """The calling node: enrolled, and its certificate not below what may renew."""
        return (await self._node(context))[0]

    async def node_row(self, context: Context) -> model.NodeRow:
        """What is stored of the calling node."""
        return (await self._node(context))[1]

    async def _node(self, context: Context) -> tuple[NodeIdentity, model.NodeRow]:
        leaf = _leaf(context)
        try:
            identity = verify_node(
                leaf, [self._made.node_ca.certificate], self._made.trust_domain, int(self._clock())
            )
        except CertError as exc:
            raise DeniedError(f"not a node: {exc}") from exc
        row = await rows.find(
            self._store, model.NodeRow, rows.node_key(identity.spiffe_id.node, identity.spiffe_id.site)
        )
        if row is None or row.row.state != model.ENROLLED or identity.epoch < row.row.renew_floor:
            raise DeniedError(f"node `{identity.spiffe_id.short}` is {row.row.state if row else 'unknown'}")
        return identity, row.row

    def operator(self, context: Context) -> SpiffeId:
        """The calling operator."""
        cas = [self._made.control_plane_ca.certificate]
        try:
            return verify_operator(_leaf(context), cas, self._made.trust_domain, int(self._clock()))
        except CertError as exc:
            raise DeniedError(f"not an operator: {exc}") from exc


def _leaf(context: Context) -> bytes:
    facts = context.auth_context()
    if facts.get("ssl_tls_version") != [b"TLSv1.3"]:
        raise DeniedError("TLS 1.3 is required")
    chain = facts.get("x509_pem_cert")
    if not chain:
        raise DeniedError("a client certificate is required")
    return x509.load_pem_x509_certificate(next(iter(chain))).public_bytes(serialization.Encoding.DER)
