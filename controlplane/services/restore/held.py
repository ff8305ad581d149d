"""What the mesh signed and an agent still holds: proof, against a store that was put back to an older state.

Only what a delegated key signed counts: an agent that makes things up stops nobody. Pure.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from certs import envelope
from certs.errors import EnvelopeError
from controlplane.errors import CorruptError
from controlplane.services.mesh.replicas import read_delegation
from policies import documents as d
from policies import payloads
from policies.errors import DocumentError


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """As an agent sends it: DSSE."""

    heartbeat: bytes
    delegation: bytes


def proven(held: Held, roots: Sequence[bytes], delegation: bytes, generation: int) -> int:
    """The generation of an authentic heartbeat that is newer than `generation`; 0 when nothing is proven.

    `delegation` is ours. That of the agent may be newer, and name the key of a replica that our store has forgotten.
    """
    try:
        parsed = envelope.parse(held.heartbeat, payloads.MAX_DOCUMENT_BYTES[d.TYPE_HEARTBEAT])
        if _claimed(parsed.payload) <= generation:
            return 0  # nearly always: nothing is verified that would prove nothing
    except (EnvelopeError, ValueError, KeyError, TypeError):
        return 0
    for signed_by in (delegation, held.delegation):
        try:
            delegated = read_delegation(signed_by, *roots)
            payload = envelope.verify_documents(parsed, d.TYPE_HEARTBEAT, delegated.keys, delegated.threshold)
            beat = payloads.load_heartbeat(payload)
        except (CorruptError, EnvelopeError, DocumentError):
            continue
        if beat.trust_domain == delegated.trust_domain:
            return beat.generation
    return 0


def _claimed(payload: bytes) -> int:
    return int(json.loads(payload)["generation"])
