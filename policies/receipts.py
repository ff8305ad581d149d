"""What a receipt proves to somebody who was not there: which node enforces which generation, and since when. Pure.

1. The certificates lead to the root that the verifier trusts: leaf, the node CA that signed it, root; none had ended then.
2. It is signed by the key of the leaf, in the trust domain of the root, and is about the node of the leaf and no other.
3. It is for the generation that is asked for, or a later one: generations only rise.
NOT proven: that the node's clock was right, and that it was not revoked then. A hostile node says what it likes of itself.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from certs import authority, envelope, verify
from certs.errors import CertError, EnvelopeError
from certs.profile import CaKind
from policies import documents as d
from policies import payloads
from policies.errors import AudienceError, ContentError, RollbackError, SignatureError

SHAPE = {"node": str, "generation": int, "at_ms": int}


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """A node's word that it enforces a generation; `serial` is of the certificate whose key signed it."""

    spiffe_id: str
    generation: int
    at_ms: int  # by the node's clock
    serial: int


def check(data: bytes, leaf: bytes, cas: Iterable[bytes], root: bytes, generation: int) -> Receipt:
    """The receipt in `data` (DSSE JSON), of the node of `leaf` (DER), which one of `cas` issued; DocumentError if it proves nothing."""
    said = _said(data)
    at = said["at_ms"] // 1000
    try:
        believed = [ca for ca in cas if _below(ca, root, at)]  # (1)
        trust_domain = authority.trust_domain_of(verify.load(root))
        node = verify.verify_node(leaf, believed, trust_domain, at)
        envelope.verify_p256(_parsed(data), d.TYPE_RECEIPT, node.public_key)  # (2)
    except (CertError, EnvelopeError) as exc:
        raise SignatureError(f"not by a node of this mesh: {exc}") from exc
    if (said["trust_domain"], said["node"]) != (trust_domain, str(node.spiffe_id)):
        raise AudienceError(f"`{node.spiffe_id.short}` speaks for `{said['node'][:256]}`")
    if said["generation"] < generation:  # (3)
        raise RollbackError("receipt", offered=said["generation"], trusted=generation)
    return Receipt(
        spiffe_id=said["node"], generation=said["generation"], at_ms=said["at_ms"], serial=node.serial
    )


def _below(ca: bytes, root: bytes, at: int) -> bool:
    try:
        verify.check_issuing_ca(ca, root, CaKind.NODE, at)
    except CertError:
        return False
    return True


def _said(data: bytes) -> dict[str, Any]:
    return payloads.load_statement(_parsed(data).payload, SHAPE)


def _parsed(data: bytes) -> envelope.Envelope:
    try:
        return envelope.parse(data, payloads.MAX_DOCUMENT_BYTES[d.TYPE_RECEIPT])
    except EnvelopeError as exc:
        raise ContentError(str(exc)) from exc
