"""Evidence: a node asks the control plane to witness its log."""

import grpc

from controlplane.api.gen import evidence_pb2, evidence_pb2_grpc
from controlplane.rpc.peer import Peers
from controlplane.services.evidence.witness import Witness

Context = grpc.aio.ServicerContext


class EvidenceServicer(evidence_pb2_grpc.EvidenceServicer):
    """The caller may only speak for its own log."""

    def __init__(self, witness: Witness, peers: Peers) -> None:
        self._witness, self._peers = witness, peers

    async def Cosign(
        self, request: evidence_pb2.CosignRequest, context: Context
    ) -> evidence_pb2.CosignResponse:
        _, row = await self._peers.heard(context)
        if request.cosigned:
            await self._witness.remember(row, request.cosigned.decode("utf-8", "replace"))
        text = request.checkpoint.decode("utf-8", "replace")
        line = await self._witness.cosign(row, request.old_size, list(request.proof), text, request.tallies)
        return evidence_pb2.CosignResponse(cosignature=line.encode())
