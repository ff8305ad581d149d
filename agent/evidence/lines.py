"""Access-log lines to decision records and open streams. Pure; every field is bounded, whatever Envoy was sent."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.envoy import actions
from audit.record import DecisionRecord, mask_path
from policies.model import Code

EPOCH = re.compile(r",serialNumber=(\d{1,9}),")
MAX_TEXT = 200


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
    subject: str
    source: str  # downstream remote address
    upstream_local: str
    upstream_remote: str


def record(line: Mapping[str, Any], node: str, seq: int) -> DecisionRecord:
    """The record of an ended stream."""
    verdict = actions.parse(_text(line, "rbac"))
    status = _number(line, "code")
    stamp = verdict.stamp if verdict else actions.Stamp(generation=0, policy_version=0)
    code = _code(line, verdict, status)
    return DecisionRecord(
        request_id=_text(line, "id"),
        direction=_text(line, "dir"),
        node=node,
        peer=_text(line, "peer"),
        peer_serial=_text(line, "serial") or _epoch_text(line),
        peer_epoch=_epoch_text(line),
        time_ms=_milliseconds(line),
        duration_ms=_number(line, "ms"),
        tls=_text(line, "tls"),
        protocol=_text(line, "protocol"),
        method=_text(line, "method"),
        path=mask_path(_text(line, "path")),
        action=_text(line, "action"),
        resource=_text(line, "resource"),
        body=_text(line, "body"),
        stream=line.get("stream") == "true",
        claimed_purpose=_text(line, "purpose"),
        claimed_data_class=_text(line, "class"),
        claimed_subject_region=_text(line, "region"),
        allowed=not code,
        code=code,
        policy=verdict.policy if verdict else "",
        generation=stamp.generation,
        policy_version=stamp.policy_version,
        status=status,
        details=_text(line, "details"),
        received_bytes=_number(line, "rx"),
        sent_bytes=_number(line, "tx"),
        boot=_text(line, "boot"),
        seq=seq,
    )


def open_stream(line: Mapping[str, Any]) -> OpenStream:
    """The stream of an `up` line."""
    return OpenStream(
        id=_text(line, "id"),
        direction=_text(line, "dir"),
        peer=_text(line, "peer"),
        epoch=int(_epoch_text(line) or 0),
        action=_text(line, "action"),
        resource=_text(line, "resource"),
        protocol=_text(line, "protocol"),
        method=_text(line, "method"),
        path=_text(line, "path"),
        purpose=_text(line, "purpose"),
        data_class=_text(line, "class"),
        subject_region=_text(line, "region"),
        stream=line.get("stream") == "true",
        subject=str(line.get("subject") or "")[:8192],
        source=_text(line, "src"),
        upstream_local=_text(line, "upl"),
        upstream_remote=_text(line, "upr"),
    )


def _code(line: Mapping[str, Any], verdict: actions.Verdict | None, status: int) -> str:
    """Why it was denied; empty when the three filters let it through."""
    if verdict is not None:
        return verdict.code.value if verdict.code else ""
    if status == 413:  # noqa: PLR2004 - the classifier's bound
        return Code.UNREADABLE_BODY.value
    if line.get("dir") == "out" and status == 404:  # noqa: PLR2004 - no such peer
        return Code.PEER_UNREACHABLE.value
    return Code.UNEVALUABLE.value


def _text(line: Mapping[str, Any], name: str) -> str:
    value = line.get(name)
    if value is None:
        return ""
    text = value if type(value) is str else str(value)
    if text.isascii():
        return text if len(text) <= MAX_TEXT else text[:MAX_TEXT]
    return text.encode("ascii", "backslashreplace").decode()[:MAX_TEXT]


def _number(line: Mapping[str, Any], name: str) -> int:
    value = line.get(name)
    return value if isinstance(value, int) and 0 <= value < 1 << 53 else 0


def _milliseconds(line: Mapping[str, Any]) -> int:
    seconds, _, fraction = str(line.get("t", "0.0")).partition(".")
    return int(seconds) * 1000 + int(fraction) if seconds.isdigit() and fraction.isdigit() else 0


def _epoch_text(line: Mapping[str, Any]) -> str:
    found = EPOCH.search(str(line.get("subject") or ""))
    return found[1] if found else ""
