"""Access-log lines, and what is made of them: log entries and open streams. Pure; every field is bounded and cleaned.

A line is decoded strictly into its fields. Requests of one peer for one thing differ in id, time and size only, which stand
first: the entry of a line whose rest was seen before is made from the template kept for that rest.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from agent.envoy import actions
from audit import record as records
from audit.record import DecisionRecord, mask_path
from policies.model import Code

EPOCH = re.compile(r",serialNumber=(\d{1,9}),")
PLAIN_ID = re.compile(r"[0-9a-zA-Z-]{1,64}")
MAX_TEXT, MAX_SUBJECT = 200, 8192
MAX_NUMBER = 1 << 53
MAX_TEMPLATES = 4096
TOO_LARGE, NOT_FOUND = 413, 404


class Line(msgspec.Struct, frozen=True, gc=False):
    """One line of Envoy's access log: see `agent.envoy.accesslog`. What Envoy leaves out is empty."""

    k: Literal["end", "open"] = msgspec.field(name="1k")
    dir: Literal["in", "out"]
    id: str = msgspec.field(default="", name="0id")
    t: str = msgspec.field(default="", name="0t")
    method: str = ""
    path: str = ""
    protocol: str = ""
    action: str = ""
    resource: str = ""
    body: str = ""
    stream: str = ""
    purpose: str = ""
    data_class: str = msgspec.field(default="", name="class")
    region: str = ""
    args: str = ""
    peer: str = ""
    subject: str = ""
    serial: str = ""
    tls: str = ""
    src: str = ""
    upl: str = ""
    upr: str = ""
    ms: int = msgspec.field(default=0, name="0ms")
    code: int = 0
    details: str = ""
    rbac: str = ""
    rx: int = msgspec.field(default=0, name="0rx")
    tx: int = msgspec.field(default=0, name="0tx")


class Varying(msgspec.Struct, frozen=True, gc=False):
    """What differs between like requests: the beginning of a line."""

    id: str = msgspec.field(default="", name="0id")
    t: str = msgspec.field(default="", name="0t")
    ms: int = msgspec.field(default=0, name="0ms")
    rx: int = msgspec.field(default=0, name="0rx")
    tx: int = msgspec.field(default=0, name="0tx")


REST = b',"1k":'  # cannot stand inside a JSON string, where a quote is escaped
ENDED = REST + b'"end"'
decode = msgspec.json.Decoder(Line).decode
"""Bytes to a line; msgspec.DecodeError (a ValueError) for anything else."""
_varying = msgspec.json.Decoder(Varying).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStream:
    """A stream that has an upstream connection and has not ended: what it was decided on, and its sockets."""

    id: str
    direction: str
    peer: str
    epoch: int
    action: str
    resource: str
    protocol: str
    method: str
    path: str
    purpose: str
    data_class: str
    subject_region: str
    stream: bool
    arguments: str
    subject: str
    source: str  # downstream remote address
    upstream_local: str
    upstream_remote: str


@dataclass(slots=True)
class Entry:
    """What goes into the log, and what is counted of it. Not frozen: making one is a tenth of the cost of a record."""

    data: bytes
    peer: str
    direction: str
    minute: int
    request_id: bytes
    reached: bool  # the callee's decision
    code: str  # of the denial; empty: allowed


@dataclass(slots=True)
class Seen:
    """What a shadow policy says of requests that are alike, and how many there were."""

    verdict: str  # `allow`, or the code of a denial
    policy: str
    version: int
    count: int = 0


Consider = Callable[[Line, DecisionRecord], Seen | None]
"""Asks the shadow policy about an ended stream; None: it was not asked."""


@dataclass(frozen=True, slots=True)
class _Template:
    data: bytes
    peer: str
    direction: str
    reached: bool
    seen: Seen | None
    code: str


def ended(text: bytes) -> bool:
    """Does this line say that a stream has ended?"""
    return ENDED in text


class Recorder:
    """Makes entries of one run of Envoy. `consider` is asked once for all requests that are alike."""

    def __init__(self, node: str, boot: str, consider: Consider | None = None) -> None:
        self._node, self._boot, self._consider = node, boot, consider
        self._templates: dict[bytes, _Template] = {}

    def entry(self, text: bytes, seq: int) -> Entry:
        """The entry of an ended stream's line, the `seq`th of the run; ValueError for what is no such line."""
        head, _, rest = text.partition(REST)
        varying = _varying(head + b"}")
        like = self._templates.get(rest) or self._make(rest, decode(text))
        if like.seen is not None:
            like.seen.count += 1
        request_id = varying.id.encode() if PLAIN_ID.fullmatch(varying.id) else b""
        time_ms = _milliseconds(varying.t)
        numbers = _number(varying.ms), _number(varying.rx)
        data = like.data % (*numbers, request_id, _number(varying.tx), seq, time_ms)
        return Entry(data, like.peer, like.direction, time_ms // 60_000, request_id, like.reached, like.code)

    def _make(self, rest: bytes, line: Line) -> _Template:
        if len(self._templates) >= MAX_TEMPLATES:
            self._templates.clear()
        like = record(line, self._node, self._boot, 0)
        seen = self._consider(line, like) if self._consider is not None else None
        if seen is not None:
            like = replace(like, shadow=seen.verdict, shadow_policy=seen.policy, shadow_version=seen.version)
        reached = like.direction == "in" or like.allowed
        made = _Template(records.template(like), like.peer, like.direction, reached, seen, like.code)
        self._templates[rest] = made
        return made


def record(line: Line, node: str, boot: str, seq: int) -> DecisionRecord:
    """The record of an ended stream."""
    verdict = actions.parse(_text(line.rbac))
    stamp = verdict.stamp if verdict else actions.Stamp(generation=0, policy_version=0)
    code = _code(line, verdict)
    epoch = _epoch_text(line.subject)
    return DecisionRecord(
        request_id=line.id if PLAIN_ID.fullmatch(line.id) else "",
        direction=line.dir,
        node=node,
        peer=_text(line.peer),
        peer_serial=_text(line.serial) or epoch,
        peer_epoch=epoch,
        time_ms=_milliseconds(line.t),
        duration_ms=_number(line.ms),
        tls=_text(line.tls),
        protocol=_text(line.protocol),
        method=_text(line.method),
        path=mask_path(_text(line.path)),
        action=_text(line.action),
        resource=_text(line.resource),
        body=_text(line.body),
        stream=line.stream == "true",
        claimed_purpose=_text(line.purpose),
        claimed_data_class=_text(line.data_class),
        claimed_subject_region=_text(line.region),
        allowed=not code,
        code=code,
        policy=verdict.policy if verdict else "",
        generation=stamp.generation,
        policy_version=stamp.policy_version,
        status=_number(line.code),
        details=_text(line.details),
        received_bytes=_number(line.rx),
        sent_bytes=_number(line.tx),
        boot=boot,
        seq=seq,
    )


def open_stream(line: Line) -> OpenStream:
    """The stream of a line that says it is open."""
    return OpenStream(
        id=_text(line.id),
        direction=line.dir,
        peer=_text(line.peer),
        epoch=int(_epoch_text(line.subject) or 0),
        action=_text(line.action),
        resource=_text(line.resource),
        protocol=_text(line.protocol),
        method=_text(line.method),
        path=_text(line.path),
        purpose=_text(line.purpose),
        data_class=_text(line.data_class),
        subject_region=_text(line.region),
        stream=line.stream == "true",
        arguments=line.args,
        subject=line.subject[:MAX_SUBJECT],
        source=_text(line.src),
        upstream_local=_text(line.upl),
        upstream_remote=_text(line.upr),
    )


def _code(line: Line, verdict: actions.Verdict | None) -> str:
    """Why it was denied; empty when the three filters let it through."""
    if verdict is not None:
        return verdict.code.value if verdict.code else ""
    if line.code == TOO_LARGE:
        return Code.UNREADABLE_BODY.value
    if line.dir == "out" and line.code == NOT_FOUND:
        return Code.PEER_UNREACHABLE.value
    return Code.UNEVALUABLE.value


def _text(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text[:MAX_TEXT]
    return ascii(text)[1:-1][:MAX_TEXT]


def _number(value: int) -> int:
    return value if 0 <= value < MAX_NUMBER else 0


def _milliseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 1000 + int(fraction) if seconds.isdigit() and fraction.isdigit() else 0


def _epoch_text(subject: str) -> str:
    found = EPOCH.search(subject)
    return found[1] if found else ""
