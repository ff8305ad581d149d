"""Decision records: what one end decided about one request, and why. One canonical JSON object each, at most 8 KiB.

Never a prompt or an answer; claims are called claims. Path segments that look personal are masked before they get here
(`mask_path`). Gap records say what is missing: an unclean end is evidence too.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from audit.errors import RecordError
from certs import canonical
from certs.errors import EnvelopeError

MAX_BYTES = 8192
MAX_PATH = 256
PERSONAL = re.compile(r"@|%40|\d{6,}|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}|[0-9a-fA-F]{24,}")
R = TypeVar("R")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """One end, one request. Times are milliseconds; `direction` is `in` at the callee, `out` at the caller."""

    request_id: str
    direction: str
    node: str
    peer: str
    peer_serial: str
    peer_epoch: str
    time_ms: int
    duration_ms: int
    tls: str
    protocol: str
    method: str
    path: str
    action: str
    resource: str
    body: str
    stream: bool
    claimed_purpose: str
    claimed_data_class: str
    claimed_subject_region: str
    allowed: bool
    code: str
    policy: str
    generation: int
    policy_version: int
    status: int
    details: str
    received_bytes: int
    sent_bytes: int
    boot: str
    seq: int
    kind: str = "decision"
    shadow: str = ""  # what a shadow policy would have decided: `allow` or a code; empty, and then left out: none was asked
    shadow_policy: str = ""
    shadow_version: int = 0

    @property
    def record_id(self) -> str:
        return f"{self.request_id}/{self.direction}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GapRecord:
    """Records of a run that may be missing: how many at most, as far as is known, and why."""

    node: str
    boot: str
    time_ms: int
    after_seq: int
    lost: int  # counted by Envoy and not found in its log; -1: unknown
    open_requests: int
    reason: str
    kind: str = "gap"


@dataclass(frozen=True, slots=True, kw_only=True)
class BootRecord:
    """A run of Envoy begins: its records count from 1."""

    node: str
    boot: str
    time_ms: int
    envoy: str
    kind: str = "boot"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminRecord:
    """One call of an operator at a control plane: who, which call, on what, and what became of it.

    A call that may change something has two: `begun` before anything is done, then its outcome. Arguments are a hash: they
    may hold whole policies, and the hash proves what was asked.
    """

    node: str  # SPIFFE ID of the control plane
    boot: str
    seq: int
    time_ms: int
    call_id: str  # shared by the records of one call
    operator: str  # empty: nobody that we know
    role: str
    credential: str  # what proved who it was
    call: str
    target: str
    arguments: str  # SHA-256 of the request, hex
    outcome: str  # begun, ok, waiting, or the kind of refusal
    reason: str
    approval: str  # id of the approval it waits for or was done under
    suppressed: int  # refusals of strangers since the last record that were only counted
    kind: str = "admin"


Record = DecisionRecord | GapRecord | BootRecord | AdminRecord
KINDS: dict[str, type[Record]] = {
    "decision": DecisionRecord,
    "gap": GapRecord,
    "boot": BootRecord,
    "admin": AdminRecord,
}
FIELDS: dict[type[Record], tuple[str, ...]] = {
    kind: tuple(sorted(field.name for field in fields(kind))) for kind in KINDS.values()
}
SHADOW = frozenset({"shadow", "shadow_policy", "shadow_version"})
"""Left out of a record that no shadow policy was asked about."""

VARYING = {
    "duration_ms": "%d",
    "received_bytes": "%d",
    "request_id": '"%b"',
    "sent_bytes": "%d",
    "seq": "%d",
    "time_ms": "%d",
}


def dump(record: Record) -> bytes:
    """Canonical bytes: the entry that is hashed into the log."""
    # A record is flat and its fields are text, small integers and truths: for those the standard library's compact form,
    # keys sorted, is the canonical one (a test holds it against `certs.canonical`), at a fifth of the cost.
    fields_of = {name: getattr(record, name) for name in _present(record)}
    data = json.dumps(fields_of, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MAX_BYTES:
        raise RuntimeError("record fields must be bounded before they get here")
    return data


def template(record: DecisionRecord) -> bytes:
    """What records of like requests have in common. Filled in with the fields of `VARYING`, in that order, it is what `dump`
    makes; the request id must need no escaping.

    Under load nearly all requests are like one of a few before them, and making a record whole costs ten times as much.
    """
    parts = []
    for name in _present(record):
        value = json.dumps(getattr(record, name), ensure_ascii=False).replace("%", "%%")
        parts.append(f'"{name}":{VARYING.get(name, value)}')
    return ("{" + ",".join(parts) + "}").encode()


def _present(record: Record) -> Iterable[str]:
    names = FIELDS[type(record)]
    if isinstance(record, DecisionRecord) and not record.shadow:
        return (name for name in names if name not in SHADOW)
    return names


def load(data: bytes) -> Record:
    """RecordError unless `data` is exactly what `dump` makes."""
    try:
        document = canonical.loads(data, MAX_BYTES)
        kind = KINDS[document["kind"]]
        return _build(kind, document)
    except (EnvelopeError, KeyError, TypeError) as exc:
        raise RecordError(f"not a record: {exc}") from exc


def _build(kind: type[R], document: dict[str, Any]) -> R:
    shadowed = SHADOW & document.keys()
    if shadowed and (shadowed != SHADOW or not document["shadow"]):
        raise TypeError("half a shadow verdict")
    for field in fields(kind):  # type: ignore[arg-type]
        if field.name in SHADOW - shadowed:
            continue
        value = document[field.name]
        if type(value).__name__ != str(getattr(field.type, "__name__", field.type)):
            raise TypeError(f"`{field.name}` is a {type(value).__name__}")
        if isinstance(value, str) and not (value.isascii() and value.isprintable()) and value:
            raise TypeError(f"`{field.name}` holds what a terminal might obey")
    return kind(**document)


def mask_path(path: str) -> str:
    """The path without query, with segments that look like a person, a number or an id replaced."""
    bare = path.partition("?")[0][:MAX_PATH]
    return "/".join("***" if PERSONAL.search(segment) else segment for segment in bare.split("/"))
