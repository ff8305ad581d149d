"""What this node says of itself, signed: receipts, its evidence key, checkpoints and tallies.

Statements are signed by the key of the current certificate, so that a receipt proves one node and no other; checkpoints
by an Ed25519 key of their own, which the node's key vouches for.
"""

import time
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric import ed25519

from agent import held
from agent.evidence.keeper import SizeError
from agent.identity import Identity
from audit import note
from audit.tally import Tallies
from certs import canonical, envelope, keys
from controlplane.api import files
from controlplane.api.gen import evidence_pb2, evidence_pb2_grpc
from policies import documents as d
from policies import payloads

KEY_FILE = "evidence-key.pem"
CALL_S = 10
MAX_TALLY_ROWS = 2000


class Statements:
    """Signs in the name of the node. Knows the identity of the moment."""

    def __init__(self, directory: Path, identity: Identity) -> None:
        self._identity, self._directory = identity, directory
        self._evidence = _evidence_key(directory / KEY_FILE)
        mine = identity.spiffe_id
        origin = f"{mine.trust_domain}/audit/{mine.site}/{mine.node}"
        self.evidence_key = note.VerifierKey(origin, note.NOTE, keys.raw(self._evidence.public_key()))

    def renewed(self, identity: Identity) -> None:
        self._identity = identity

    def sign_evidence(self, data: bytes) -> bytes:
        return self._evidence.sign(data)

    def evidence_statement(self) -> bytes:
        """The node's key vouches for the key of its log."""
        payload = payloads.dump_statement(self._identity.spiffe_id.trust_domain, vkey=str(self.evidence_key))
        return self._seal(d.TYPE_EVIDENCE_KEY, payload)

    def receipt(self, generation: int) -> bytes:
        """This node enforces `generation`: said only after Envoy has acknowledged all of it."""
        mine = self._identity.spiffe_id
        payload = payloads.dump_statement(
            mine.trust_domain, node=str(mine), generation=generation, at_ms=int(time.time() * 1000)
        )
        return self._seal(d.TYPE_RECEIPT, payload)

    async def cosign(
        self, channel: grpc.aio.Channel, old: int, proof: list[bytes], text: str, tallies: Tallies
    ) -> str:
        """One cosignature line of the control plane; SizeError when it holds another size than `old`.

        One that has forgotten what it cosigned is shown it.
        """
        rows: list[canonical.Json] = [list(row) for row in tallies.rows()[-MAX_TALLY_ROWS:]]
        payload = payloads.dump_statement(self._identity.spiffe_id.trust_domain, rows=rows)
        request = evidence_pb2.CosignRequest(
            old_size=old, proof=proof, checkpoint=text.encode(), tallies=self._seal(d.TYPE_TALLIES, payload)
        )
        try:
            return await _cosigned(channel, request)
        except SizeError as exc:
            request.cosigned = held.cosigned(self._directory, exc.size)
            if not request.cosigned:
                raise
        return await _cosigned(channel, request)

    def _seal(self, kind: str, payload: bytes) -> bytes:
        key = self._identity.key
        return envelope.sign_envelope(kind, payload, [("node", lambda data: keys.sign(key, data))]).to_json()


async def _cosigned(channel: grpc.aio.Channel, request: evidence_pb2.CosignRequest) -> str:
    try:
        reply = await evidence_pb2_grpc.EvidenceStub(channel).Cosign(request, timeout=CALL_S)
    except grpc.aio.AioRpcError as exc:
        size = (exc.details() or "").rpartition(" ")[2]
        if exc.code() is grpc.StatusCode.FAILED_PRECONDITION and size.isdigit():
            raise SizeError(int(size)) from exc
        raise
    return str(reply.cosignature.decode())


def _evidence_key(path: Path) -> ed25519.Ed25519PrivateKey:
    raw = files.read(path)
    if raw is not None:
        loaded = keys.load_private(raw, None)
        if isinstance(loaded, ed25519.Ed25519PrivateKey):
            return loaded
    made = keys.generate_ed25519()
    files.write(path, keys.dump_private(made, None))
    return made
