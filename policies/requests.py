"""From an HTTP request to what policies speak about: the normative table, its rules, and which claims count.

The same table is rendered into Envoy's classifier (`agent/envoy/classify.lua`); the Python twin here is for explaining
and for tests that hold the two against each other.
(1) A path that is ambiguous, or near a row and meets none (`policies.paths`): body `unread`, denied whatever is permitted.
(2) Any other path is its row of the table; gRPC that no row knows is `connect` on the service's full name, all else
    `connect` on Service `http`: each needs a permit of its own.
(3) Where a JSON body names the resource or the call it must be readable (`policies.scan`): no Content-Encoding, no
    `charset` but UTF-8. A body of gRPC must be one plain message (`policies.messages`) of content type
    `application/grpc` or `application/grpc+proto`; of a stream the first message counts, and the proxy ends the stream
    at the first that says another thing. Else `unread`.
(4) A query must not name the resource a second time, or once in another spelling. Headers that repeat what a call says
    (`Mcp-Method`, `Mcp-Name`) must say the same. A call must not differ from one we know only by case. Else `unread`.
(5) A name is of our grammar (`grammar.RESOURCE_NAME`), else `unread`.
(6) Arguments of a tool that rules ask for must be readable (`policies.arguments`), else `unread`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from policies import messages, paths
from policies.arguments import MEMBER, Arguments
from policies.asking import Wanted
from policies.grammar import RESOURCE_NAME
from policies.model import CLASS_MAX, Principal
from policies.scan import scan
from policies.table import CALLS, FALLBACK, GRPC, Call, Endpoint, Source

CLAIM = re.compile(r"[a-z0-9-]{1,48}")
GRPC_PATH = re.compile(r"/([A-Za-z0-9_.]{1,128})/[A-Za-z0-9_]+")
TOOL = "tool"  # the action whose resource has arguments
GRPC_TYPES = frozenset({"application/grpc", "application/grpc+proto"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """What a request is. `name` None: the request did not say, in a way that only one reading is possible."""

    protocol: str
    action: str
    kind: str
    name: str | None
    body: str  # read, unread, none, opaque
    stream: bool
    arguments: Arguments | None = None
    """Of a call of a tool: those that rules ask for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """Accepted claims: within the certificate, the class already raised to its floor."""

    purpose: str
    data_class: int
    subject_region: str | None


Headers = Mapping[str, str]
"""By lower-case name; several values of one name are joined with commas."""

_CALLS = {(call.protocol, call.method): call for call in CALLS}
_FOLDED_CALLS = {(call.protocol, call.method.lower()) for call in CALLS}
_UTF8 = re.compile(r"""[^;,]*;[ \t]*charset="?utf-8"?[ \t]*""", re.IGNORECASE)


def classify(
    method: str,
    target: str,
    body: bytes | None,
    headers: Headers | None = None,
    wanted: Wanted = MappingProxyType({}),
) -> Classified:
    """Classify a request by method, path with query, body and headers. `wanted`: what rules ask of which tool."""
    headers = headers or {}
    path, _, query = target.partition("?")
    if paths.ambiguous(path):
        return _unread(FALLBACK)
    found = paths.find(method, path)
    if found is None:
        return _unread(FALLBACK) if paths.near(path) else _unknown(method, path, headers)
    row, name = found
    match row.source:
        case Source.FIXED:
            return _named(row, row.name, "none")
        case Source.PATH:
            return _named(row, name, "none")
        case Source.QUERY:
            return _named(row, _asked(query, row.field), "opaque")
        case Source.FIELD:
            return _named(row, _message(body, int(row.field), headers), "read")
        case Source.FIRST:
            return _named(row, _message(messages.first(body or b""), int(row.field), headers), "read")
        case Source.BODY:
            return _from_json(row, query, _json(body, (row.field, "stream"), headers))
        case Source.CALL:
            called = _called(row, _json(body, call_members(row.protocol), headers), headers)
            return _with_arguments(called, body, wanted)


def _unknown(method: str, path: str, headers: Headers) -> Classified:
    """(2)"""
    service = GRPC_PATH.fullmatch(path)
    if method == GRPC.method and service and headers.get("content-type") in GRPC_TYPES:
        return _named(GRPC, service.group(1), "none")
    return _named(FALLBACK, FALLBACK.name, "none")


def _asked(query: str, field: str) -> str | None:
    """(4) The one value of a query's key; None when there is none, a second, or one that may be meant."""
    keys = [part.partition("=") for part in re.split("[&;]", query) if part]
    if any(re.search(r"[%+\[\]]", key) for key, _, _ in keys):
        return None
    values = [(key, value) for key, _, value in keys if key.lower() == field]
    return values[0][1] if len(values) == 1 and values[0][0] == field else None


def _asks_nothing(query: str, field: str) -> bool:
    keys = [part.partition("=")[0] for part in re.split("[&;]", query) if part]
    return not any(key.lower() == field or re.search(r"[%+\[\]]", key) for key in keys)


def _message(body: bytes | None, field: int, headers: Headers) -> str | None:
    """(3)"""
    if not body or "content-encoding" in headers or headers.get("content-type") not in GRPC_TYPES:
        return None
    return messages.read(body, field)


def _json(body: bytes | None, wanted: tuple[str, ...], headers: Headers) -> dict[str, str | bool] | None:
    """(3)"""
    if not body or "content-encoding" in headers or unreadable(headers.get("content-type")):
        return None
    return scan(body, wanted)


def unreadable(content_type: str | None) -> bool:
    """A server that honours `charset=utf-7` or `utf-16` reads other keys than we do."""
    if content_type is None or "charset" not in content_type.lower():
        return False
    return _UTF8.fullmatch(content_type) is None


def _from_json(row: Endpoint, query: str, found: dict[str, str | bool] | None) -> Classified:
    if found is None or not _asks_nothing(query, row.field):
        return _unread(row)
    return _named(row, found.get(row.field), "read", stream=found.get("stream") is True)


def call_members(protocol: str) -> tuple[str, ...]:
    """What is wanted of the body of a call: its method, its id, and every member that names a resource."""
    named = {f"params.{call.field}" for call in CALLS if call.protocol == protocol and call.field}
    return ("method", "id", *sorted(named))


def _called(row: Endpoint, found: dict[str, str | bool] | None, headers: Headers) -> Classified:
    if found is None:
        return _unread(row)
    method = found.get("method", "")
    if not isinstance(method, str):
        return _unread(row)
    call = _CALLS.get((row.protocol, method))
    said = found.get(f"params.{call.field}") if call and call.field else None
    if headers.get("mcp-method", method) != method or headers.get("mcp-name", said) != said:  # (4)
        return _unread(call or row)
    if call is None and (row.protocol, method.lower()) in _FOLDED_CALLS:
        return _unread(row)
    if call is None:
        return _named(row, row.name, "read")
    return _named(call, call.name or said, "read")


def _with_arguments(called: Classified, body: bytes | None, wanted: Wanted) -> Classified:
    """(6)"""
    names = wanted.get(called.name or "", frozenset())
    if called.action != TOOL or not names:
        return called
    found = scan(body or b"", [MEMBER + name for name in names])
    if found is None:
        return replace(called, name=None, body="unread")
    given = tuple((name.removeprefix(MEMBER), str(value)) for name, value in sorted(found.items()))
    return replace(called, arguments=Arguments(given, names))


def _named(row: Endpoint | Call, name: str | bool | None, body: str, *, stream: bool = False) -> Classified:
    """(5)"""
    if not isinstance(name, str) or not RESOURCE_NAME.fullmatch(name):
        return _unread(row)
    return _classified(row, name, body, stream=stream or row.stream)


def _unread(row: Endpoint | Call) -> Classified:
    return _classified(row, None, "unread", stream=False)


def _classified(row: Endpoint | Call, name: str | None, body: str, *, stream: bool) -> Classified:
    return Classified(
        protocol=row.protocol, action=row.action, kind=row.kind, name=name, body=body, stream=stream
    )


def accept_claims(
    principal: Principal, purpose: str | None, data_class: str | None, region: str | None
) -> Claims | None:
    """The claims of a request, if the caller's certificate covers them; None denies with `claim_not_allowed`."""
    if purpose is None:
        purpose = next(iter(principal.purposes)) if len(principal.purposes) == 1 else None
    if purpose is None or purpose not in principal.purposes:
        return None
    if data_class is not None and not re.fullmatch(f"[0-{CLASS_MAX}]", data_class):
        return None
    effective = max(principal.class_ceiling if data_class is None else int(data_class), principal.class_floor)
    if effective > principal.class_ceiling:
        return None
    if region is None and len(principal.regions) == 1:
        region = next(iter(principal.regions))
    if (region is None and principal.regions) or (region is not None and region not in principal.regions):
        return None
    return Claims(purpose=purpose, data_class=effective, subject_region=region)
