"""Who calls: read from the TLS peer's certificate, on every call, and from nowhere else.

1. TLS 1.3, with a client certificate: gRPC's Python API cannot forbid 1.2, so it is refused here too.
2. The certificate is verified again against the CA for the role: the handshake accepts nodes and operators alike. A node's
   once, while it and the CAs stay the same (`verified`).
3. A node's epoch is held against the floor at every call: an open connection outlives a revocation.
4. Any replica's CA counts, as the newest trust document says; a removed replica's no more.
"""

import time
from collections.abc import Callable, Collection

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from certs.errors import CertError
from certs.spiffe import SpiffeId
from certs.verify import NodeIdentity, load, verify_control_plane, verify_node, verify_operator
from controlplane import model
from controlplane.errors import DeniedError
from controlplane.rpc.verified import Verified
from controlplane.services import rows
from controlplane.services.push.publish import Publisher
from controlplane.store.base import Store

Context = grpc.aio.ServicerContext


class Peers:
    """Turns a call's TLS context into a verified caller, or refuses with DeniedError."""

    def __init__(
        self, store: Store, trust_domain: str, publisher: Publisher, clock: Callable[[], float] = time.time
    ) -> None:
        self._store, self._trust_domain, self._publisher, self._clock = store, trust_domain, publisher, clock
        self._nodes = Verified(lambda shown, cas, now: verify_node(_der(shown), cas, trust_domain, now))

    async def node(self, context: Context) -> NodeIdentity:
        """The calling node: enrolled, and its certificate not below what may renew."""
        return (await self._node(context, {model.ENROLLED}))[0]

    async def heard(self, context: Context) -> tuple[NodeIdentity, model.NodeRow]:
        """As `node`, with what is stored of it; a quarantined one too: its evidence and health are wanted."""
        return await self._node(context, model.HEARD)

    async def _node(self, context: Context, states: Collection[str]) -> tuple[NodeIdentity, model.NodeRow]:
        identity = self._identity(context)
        row = await rows.find(
            self._store, model.NodeRow, rows.node_key(identity.spiffe_id.node, identity.spiffe_id.site)
        )
        if row is None or row.row.state not in states or identity.epoch < row.row.renew_floor:
            raise DeniedError(f"node `{identity.spiffe_id.short}` is {row.row.state if row else 'unknown'}")
        return identity, row.row

    def presented(self, context: Context) -> NodeIdentity:
        """The calling node by its certificate, not below any floor we know: for calls that compare its row themselves."""
        identity = self._identity(context)
        if not self._publisher.may_go_on(str(identity.spiffe_id), identity.epoch):
            raise DeniedError(f"node `{identity.spiffe_id.short}` is revoked")
        return identity

    def _identity(self, context: Context) -> NodeIdentity:
        try:
            return self._nodes(_shown(context), self._publisher.anchors.node_cas, int(self._clock()))
        except CertError as exc:
            raise DeniedError(f"not a node: {exc}") from exc

    def operator(self, context: Context) -> SpiffeId:
        """The calling operator by its certificate: whether that still counts is in the store."""
        cas = self._publisher.anchors.control_plane_cas
        try:
            return verify_operator(_leaf(context), cas, self._trust_domain, int(self._clock()))
        except CertError as exc:
            raise DeniedError(f"not an operator: {exc}") from exc

    def certificate(self, context: Context) -> bytes:
        """The one that the caller shows, DER."""
        return _leaf(context)

    def serial(self, context: Context) -> int:
        """Of the certificate that the caller shows."""
        return load(_leaf(context)).serial_number

    def replica(self, context: Context) -> SpiffeId:
        """The calling control plane."""
        cas = self._publisher.anchors.control_plane_cas
        try:
            return verify_control_plane(_leaf(context), cas, self._trust_domain, int(self._clock()))
        except CertError as exc:
            raise DeniedError(f"not a control plane: {exc}") from exc


def _leaf(context: Context) -> bytes:
    return _der(_shown(context))


def _shown(context: Context) -> bytes:
    facts = context.auth_context()
    if facts.get("ssl_tls_version") != [b"TLSv1.3"]:
        raise DeniedError("TLS 1.3 is required")
    chain = facts.get("x509_pem_cert")
    if not chain:
        raise DeniedError("a client certificate is required")
    return bytes(next(iter(chain)))


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
