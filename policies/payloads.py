"""Documents to canonical payloads and back. Shape only: whether a payload may be believed is `trusted`'s question."""

import base64
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from certs import bundle, canonical, document_keys, spiffe
from certs.bundle import TrustBundle
from certs.envelope import Envelope, Signer, sign_envelope
from certs.errors import CertError, EnvelopeError
from certs.keys import spki
from certs.verify import load
from policies import decode, workloads
from policies import documents as d
from policies.errors import ContentError
from policies.grammar import DIGEST

VERSION = 1
MAX_KEYS = 1024  # of one kind, in the bundle of another trust domain
MAX_DOCUMENT_BYTES = {
    d.TYPE_DELEGATION: 64 << 10,  # a key with ML-DSA-65 has 2 KB, its signature 3.3 KB
    d.TYPE_ROOT_CHANGE: 16 << 10,
    d.TYPE_TRUST: 16 << 20,
    d.TYPE_TICKET: 16 << 10,
    d.TYPE_WORKLOADS: 4 << 20,  # 256 registrations, and bundles of 16 other trust domains
    d.TYPE_HEARTBEAT: 16 << 10,
    d.TYPE_RECEIPT: 4 << 10,
    d.TYPE_EVIDENCE_KEY: 4 << 10,
}
T = TypeVar("T", d.Delegation, d.TrustDocument, d.Ticket, d.Heartbeat)
DER_LISTS = ("roots", "node_cas", "control_plane_cas", "workload_cas", "jwt_keys")


def seal(kind: str, payload: bytes, *signers: Signer) -> Envelope:
    """Sign a payload as one kind of document."""
    return sign_envelope(kind, payload, signers)


def dump_delegation(doc: d.Delegation) -> bytes:
    fields = {"version": doc.version, "expires": doc.expires, "threshold": doc.threshold}
    keys = [_b64(key) for key in doc.keys]
    return _dump(doc.trust_domain, **fields, keys=keys, algorithms=list(doc.algorithms))


def load_delegation(payload: bytes) -> d.Delegation:
    f = _load(payload, {"version": int, "expires": int, "threshold": int, "keys": list, "algorithms": list})
    keys = tuple(_unb64(key) for key in f.pop("keys"))
    algorithms = tuple(f.pop("algorithms"))
    if algorithms not in document_keys.KINDS:
        raise ContentError("documents are signed by algorithms that we do not know")
    return d.Delegation(**f, keys=keys, algorithms=algorithms)


def dump_root_change(doc: d.RootChange) -> bytes:
    certificates = {name: _b64(getattr(doc, name)) for name in ("old", "new", "cross")}
    return _dump(doc.trust_domain, version=doc.version, **certificates)


def load_root_change(payload: bytes) -> d.RootChange:
    f = _load(payload, {"version": int, "old": str, "new": str, "cross": str})
    f |= {name: _unb64(f[name]) for name in ("old", "new", "cross")}
    return d.RootChange(**f)


def dump_trust(doc: d.TrustDocument) -> bytes:
    certificates = {name: [_b64(der) for der in getattr(doc, name)] for name in DER_LISTS}
    numbers = {name: getattr(doc, name) for name in ("generation", "policy_min", "policy_now")}
    return _dump(doc.trust_domain, **certificates, **numbers, floors=dict(doc.floors))


def load_trust(payload: bytes) -> d.TrustDocument:
    shape: dict[str, type] = dict.fromkeys(("generation", "policy_min", "policy_now"), int)
    f = _load(payload, {**shape, **dict.fromkeys(DER_LISTS, list), "floors": dict})
    for name in DER_LISTS:
        f[name] = tuple(_unb64(text) for text in f[name])
    if not all(value is None or (type(value) is int and value > 0) for value in f["floors"].values()):
        raise ContentError("a floor is a positive number, or null")
    try:
        distinct = {bundle.key_id(bundle.public_key(key)) for key in f["jwt_keys"]}
    except CertError as exc:
        raise ContentError(str(exc)) from exc
    if len(distinct) != len(f["jwt_keys"]):
        raise ContentError("a JWT key occurs twice")
    return d.TrustDocument(**f)


def dump_workloads(doc: d.Workloads) -> bytes:
    found = [workloads.dump(one) for one in doc.workloads]
    federated = [_dump_bundle(one) for one in doc.federated]
    return _dump(
        doc.trust_domain, node=doc.node, generation=doc.generation, workloads=found, federated=federated
    )


def load_workloads(payload: bytes) -> d.Workloads:
    f = _load(payload, {"node": str, "generation": int, "workloads": list, "federated": list})
    f["workloads"] = workloads.check_all([workloads.load(one) for one in f["workloads"]])
    f["federated"] = tuple(_load_bundle(one) for one in f["federated"])
    names = [one.trust_domain for one in f["federated"]]
    if names != sorted(set(names)) or not workloads.federated(f["workloads"]).issuperset(names):
        raise ContentError(
            "bundles are not sorted, distinct, and of trust domains that a workload federates with"
        )
    if f["trust_domain"] in names:
        raise ContentError("our own bundle is in the trust document, and nowhere else")
    return d.Workloads(**f)


def _dump_bundle(of: TrustBundle) -> dict[str, Any]:
    keys = [{"kid": kid, "key": _b64(spki(key))} for kid, key in sorted(of.jwt_keys.items())]
    return {"td": of.trust_domain, "roots": [_b64(der) for der in of.roots], "jwt_keys": keys}


def _load_bundle(value: object) -> TrustBundle:
    f = decode.record(value, "bundle", "td", "roots", "jwt_keys")
    keys = decode.items(f["jwt_keys"], "jwt_keys", _load_key, most=MAX_KEYS)
    if len(dict(keys)) != len(keys):
        raise ContentError("two keys of a bundle have one `kid`")
    try:
        roots = decode.items(f["roots"], "roots", _unb64, most=MAX_KEYS)
        for der in roots:
            load(der)
        return TrustBundle(
            trust_domain=spiffe.trust_domain(decode.text(f["td"], "td")), roots=roots, jwt_keys=dict(keys)
        )
    except CertError as exc:
        raise ContentError(str(exc)) from exc


def _load_key(value: object) -> tuple[str, EllipticCurvePublicKey]:
    f = decode.record(value, "key", "kid", "key")
    try:
        return decode.text(f["kid"], "kid"), bundle.public_key(_unb64(f["key"]))
    except CertError as exc:
        raise ContentError(str(exc)) from exc


def dump_ticket(doc: d.Ticket) -> bytes:
    numbers = {name: getattr(doc, name) for name in ("generation", "policy_version", "issued_at")}
    return _dump(
        doc.trust_domain,
        **numbers,
        node=doc.node,
        rules=doc.rules,
        peers=doc.peers,
        features=list(doc.features),
    )


def load_ticket(payload: bytes) -> d.Ticket:
    shape: dict[str, type] = dict.fromkeys(("generation", "policy_version", "issued_at"), int)
    f = _load(payload, {**shape, "node": str, "rules": str, "peers": str, "features": list})
    if not all(isinstance(feature, str) for feature in f["features"]):
        raise ContentError("a feature is a name")
    _check_digests(f["rules"], f["peers"])
    f["features"] = tuple(f["features"])
    return d.Ticket(**f)


def dump_heartbeat(doc: d.Heartbeat) -> bytes:
    return _dump(doc.trust_domain, generation=doc.generation, trust=doc.trust, at=doc.at, until=doc.until)


def load_heartbeat(payload: bytes) -> d.Heartbeat:
    f = _load(payload, {"generation": int, "trust": str, "at": int, "until": int})
    _check_digests(f["trust"])
    return d.Heartbeat(**f)


def dump_statement(trust_domain: str, **fields: canonical.Json) -> bytes:
    """A node's own statement: receipts, evidence keys."""
    return _dump(trust_domain, **fields)


def load_statement(payload: bytes, shape: dict[str, type]) -> dict[str, Any]:
    return _load(payload, shape)


def _dump(trust_domain: str, **fields: Any) -> bytes:
    return canonical.dumps({"v": VERSION, "td": trust_domain, **fields})


def _load(payload: bytes, shape: dict[str, type]) -> dict[str, Any]:
    try:
        document = canonical.loads(payload, MAX_DOCUMENT_BYTES[d.TYPE_TRUST])
    except EnvelopeError as exc:
        raise ContentError(str(exc)) from exc
    wanted = {"v": int, "td": str, **shape}
    if not isinstance(document, dict) or set(document) != set(wanted):
        raise ContentError("document has another shape than its kind")
    for name, kind in wanted.items():
        value = document[name]
        if type(value) is not kind or (isinstance(value, int) and value < 0):
            raise ContentError(f"`{name}` must be a {kind.__name__}")
    if document.pop("v") != VERSION:
        raise ContentError("document is of a version we do not know")
    document["trust_domain"] = document.pop("td")
    return document


def _check_digests(*digests: str) -> None:
    if not all(DIGEST.fullmatch(digest) for digest in digests):
        raise ContentError("a digest is SHA-256 in lower-case hex")


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: object) -> bytes:
    if not isinstance(text, str):
        raise ContentError("base64 text was expected")
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as exc:  # binascii.Error, or text that is not ASCII
        raise ContentError("base64 text was expected") from exc
    if _b64(data) != text:  # bits after the end: two spellings of one value
        raise ContentError("base64 is not canonical")
    return data
