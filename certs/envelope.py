"""DSSE envelopes (github.com/secure-systems-lab/dsse, v1.0.2): what was signed, its type, and by whom.

1. The payload type is inside the signed bytes: a ticket can never pass as a trust document.
2. Nothing of a payload is read before enough distinct keys have signed it.
3. Parsing is strict and bounded; a malformed envelope is refused whole.
Whether the payload is fresh, for us, or newer than the last is left to the caller.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from certs import document_keys
from certs.errors import EnvelopeError, KeyFormatError
from certs.keys import ECDSA_SHA256

MAX_SIGNATURES = 16
Signer = tuple[str, Callable[[bytes], bytes]]
"""A key id and what signs with that key."""


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature; `key_id` is a hint, never trusted by itself."""

    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with its type and signatures; unverified until one of the `verify_*` returned."""

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    def to_json(self) -> bytes:
        signatures = [{"keyid": s.key_id, "sig": _encode(s.signature)} for s in self.signatures]
        document = {
            "payload": _encode(self.payload),
            "payloadType": self.payload_type,
            "signatures": signatures,
        }
        return json.dumps(document, separators=(",", ":")).encode()


def pae(payload_type: str, payload: bytes) -> bytes:
    """Pre-authentication encoding: lengths before contents, so that no two pairs encode alike."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(public_key: bytes) -> str:
    """Eight hex digits that tell keys apart in a log; not a commitment."""
    return hashlib.sha256(public_key).hexdigest()[:8]


def sign_envelope(payload_type: str, payload: bytes, signers: Sequence[Signer]) -> Envelope:
    signed = pae(payload_type, payload)
    return Envelope(payload_type, payload, tuple(Signature(kid, sign(signed)) for kid, sign in signers))


def parse(data: bytes, max_bytes: int) -> Envelope:
    """Read an envelope's JSON; EnvelopeError when it is not one, or larger than `max_bytes`."""
    if len(data) > max_bytes:
        raise EnvelopeError(f"envelope of `{len(data)}` bytes is over the limit of `{max_bytes}`")
    try:
        document = json.loads(data.decode("utf-8"), object_pairs_hook=_unique)
        if set(document) != {"payload", "payloadType", "signatures"} or not isinstance(
            document["payloadType"], str
        ):
            raise EnvelopeError("envelope must have payload, payloadType and signatures")
        signatures = tuple(_signature(entry) for entry in document["signatures"])
        payload = _decode(document["payload"])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise EnvelopeError("envelope is not a DSSE document") from exc
    if not 1 <= len(signatures) <= MAX_SIGNATURES:
        raise EnvelopeError(f"envelope must have 1 to {MAX_SIGNATURES} signatures, has `{len(signatures)}`")
    return Envelope(document["payloadType"], payload, signatures)


def verify_documents(envelope: Envelope, payload_type: str, keys: Collection[bytes], threshold: int) -> bytes:
    """The payload, if `threshold` distinct document keys signed it as `payload_type`: of a key of two algorithms, both."""
    if threshold < 1:
        raise RuntimeError("a threshold below 1 would accept unsigned documents")
    _check_type(envelope, payload_type)
    signed = pae(payload_type, envelope.payload)
    try:
        named = {key_id(part.public): part for key in keys for part in document_keys.parts(key)}
    except KeyFormatError as exc:
        raise EnvelopeError(f"no document can be signed: {exc}") from exc
    offered = [(named[s.key_id], s.signature) for s in envelope.signatures if s.key_id in named]
    held = document_keys.holding(offered, signed)
    good = {key for key in keys if document_keys.signed_by(key, held)}
    if len(good) < threshold:
        raise EnvelopeError(f"signed by `{len(good)}` of the keys we accept, `{threshold}` must sign")
    return envelope.payload


def verify_p256(envelope: Envelope, payload_type: str, public_key: ec.EllipticCurvePublicKey) -> bytes:
    """The payload, if its only signature is by `public_key`."""
    return verify_p256_all(envelope, payload_type, [public_key])


def verify_p256_all(
    envelope: Envelope, payload_type: str, public_keys: Sequence[ec.EllipticCurvePublicKey]
) -> bytes:
    """The payload, if it is signed by each of these keys, in this order, and by no other."""
    _check_type(envelope, payload_type)
    if len(envelope.signatures) != len(public_keys):
        wanted = "exactly one signature was" if len(public_keys) == 1 else "as many signatures as keys were"
        raise EnvelopeError(f"{wanted} expected")
    signed = pae(payload_type, envelope.payload)
    try:
        for key, made in zip(public_keys, envelope.signatures, strict=True):
            key.verify(made.signature, signed, ECDSA_SHA256)
    except InvalidSignature as exc:
        raise EnvelopeError("signature does not verify") from exc
    return envelope.payload


def _check_type(envelope: Envelope, payload_type: str) -> None:
    if envelope.payload_type != payload_type:
        raise EnvelopeError(f"payload is `{envelope.payload_type[:64]}`, `{payload_type}` was expected")


def _signature(entry: dict[str, str]) -> Signature:
    if set(entry) != {"keyid", "sig"} or not isinstance(entry["keyid"], str):
        raise ValueError("not a signature")
    return Signature(entry["keyid"], _decode(entry["sig"]))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key occurs twice")
    return found


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(str(exc)) from exc
    if _encode(data) != text:  # trailing bits: two spellings of one value
        raise ValueError("base64 is not canonical")
    return data
