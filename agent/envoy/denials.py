"""How a denial speaks: the caller's protocol, a code, and the id of the record. Policy ids only to the local application.

The RBAC action that denied is named `<code>/<policy>@<generation>/<version>`; the code picks the answer. The form is
picked by what the request line and its content type say, because a denial may come before anything was classified:
gRPC a status (Envoy turns 403 into PERMISSION_DENIED), JSON-RPC an error object, Open Inference a text, all else OpenAI's
object, which is plain JSON to whoever does not know it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.envoy import accesslog
from policies.model import Code
from policies.table import TABLE, Source

MESSAGES = {
    Code.NO_PERMIT: "no policy permits this request",
    Code.FORBIDDEN: "a policy forbids this request",
    Code.UNEVALUABLE: "the request could not be decided, so it is denied",
    Code.LEASE_EXPIRED: "this node has lost contact with its control plane for too long",
    Code.REVOKED: "the peer is revoked",
    Code.UNREADABLE_BODY: "the request cannot be read in one way only, or its body is too large",
    Code.CLAIM_NOT_ALLOWED: "a claim is not within the caller's certificate, or the session is not the caller's",
    Code.UNKNOWN_RESOURCE: "no such resource is declared",
    Code.PEER_UNREACHABLE: "the peer cannot be reached, or no policy lets this node reach it",
}
JSON_RPC_DENIED = -32093
"""Of the range for servers; A2A takes -32001 to -32009, MCP -32020 and -32042."""
RECORD = "%REQ({id})%/{direction}"
UNREACHED = ("UH", "UF", "NC", "NR", "UC", "UT", "UO", "LH")

Filter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Cause:
    """What stopped a request, and how to know it. `safe`: Envoy's words about it need no escaping in JSON."""

    code: Code
    when: Filter
    status: int | None = None
    safe: bool = False


@dataclass(frozen=True, slots=True)
class _Form:
    """Who is answered so, and the answer to (code, message, record)."""

    when: tuple[Filter, ...]
    body: Callable[[_Cause, str, str], dict[str, Any]]


def local_replies(direction: str) -> dict[str, Any]:
    """Envoy's local_reply_config of one listener: the first that fits."""
    return {"mappers": [_mapper(cause, form, direction) for cause in _causes() for form in FORMS]}


def _causes() -> Iterator[_Cause]:
    for code in MESSAGES:
        status = 404 if code is Code.PEER_UNREACHABLE else None  # no such peer, as far as this node may know
        yield _Cause(code, _named(code), status, safe=True)
    too_large = {"status_code_filter": {"comparison": {"op": "EQ", "value": _number(413)}}}
    yield _Cause(Code.UNREADABLE_BODY, too_large)
    yield _Cause(Code.PEER_UNREACHABLE, {"response_flag_filter": {"flags": list(UNREACHED)}})


def _number(value: int) -> dict[str, Any]:
    return {"default_value": value, "runtime_key": "writ.never_set"}


def _named(code: Code) -> Filter:
    """Did an RBAC filter deny with this code? Metadata is not yet set when the reply is made; the details are."""
    expression = f"response.code_details.startsWith('rbac_access_denied_matched_policy[{code.value}/')"
    kind = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": {"name": "cel", "typed_config": {"@type": kind, "expression": expression}}}


def _mapper(cause: _Cause, form: _Form, direction: str) -> dict[str, Any]:
    record = RECORD.format(id=accesslog.ID[direction], direction=direction)
    details = " (%RESPONSE_CODE_DETAILS%)" if direction == "out" else ""
    every = [*form.when, cause.when]
    grpc = form.body is _grpc
    made = {
        "filter": {"and_filter": {"filters": every}} if len(every) > 1 else every[0],
        "headers_to_add": [
            {
                "header": {"key": "writ-record-id", "value": record},
                "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
            }
        ],
        "body_format_override": form.body(cause, MESSAGES[cause.code] + details, record),
    }
    return made | ({"status_code": cause.status} if cause.status and not grpc else {})


# --- forms -------------------------------------------------------------------------------------------------------


def _grpc(cause: _Cause, message: str, record: str) -> dict[str, Any]:
    return _text(f"{cause.code.value}: {message}; record {record}", "application/grpc")


def _rpc_with_id(cause: _Cause, message: str, record: str) -> dict[str, Any]:
    """As text: the id is a number or a string, as it came. What could break the text is left out."""
    said = message if cause.safe else MESSAGES[cause.code]
    data = f'{{"code":"{cause.code.value}","record":"{record}"}}'
    error = f'{{"code":{JSON_RPC_DENIED},"message":"{said}","data":{data}}}'
    return _text(f'{{"jsonrpc":"2.0","id":%REQ(writ-rpc-id)%,"error":{error}}}', "application/json")


def _rpc(cause: _Cause, message: str, record: str) -> dict[str, Any]:
    data = {"code": cause.code.value, "record": record}
    error = {"code": JSON_RPC_DENIED, "message": message, "data": data}
    return {"json_format": {"jsonrpc": "2.0", "id": None, "error": error}}


def _oip(cause: _Cause, message: str, record: str) -> dict[str, Any]:
    return {"json_format": {"error": message, "code": cause.code.value, "record": record}}


def _openai(cause: _Cause, message: str, record: str) -> dict[str, Any]:
    error = {"message": message, "type": "writ_denied", "code": cause.code.value, "param": None}
    return {"json_format": {"error": error | {"record": record}}}


def _text(text: str, content_type: str) -> dict[str, Any]:
    return {"text_format_source": {"inline_string": text}, "content_type": content_type}


def _header(name: str, **match: Any) -> Filter:
    return {"header_filter": {"header": {"name": name, **match}}}


def _path(pattern: str) -> Filter:
    return _header(":path", string_match={"safe_regex": {"regex": pattern + r"(\?.*)?"}})


_CALLED = "|".join(row.path for row in TABLE if row.source is Source.CALL)
FORMS = (
    _Form((_header("content-type", string_match={"prefix": "application/grpc"}),), _grpc),
    _Form((_path(f"({_CALLED})"), _header("writ-rpc-id", present_match=True)), _rpc_with_id),
    _Form((_path(f"({_CALLED})"),), _rpc),
    _Form((_path("/v2(/.*)?"),), _oip),
    _Form((), _openai),
)
