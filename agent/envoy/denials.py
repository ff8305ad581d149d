"""How a denial speaks: the caller's protocol, a code, and the id of the record. Policy ids only to the local application.

The RBAC action that denied is named `<code>/<policy>@<generation>/<version>`; the code picks the answer.
"""

from typing import Any

from policies.model import Code

MESSAGES = {
    Code.NO_PERMIT: "no policy permits this request",
    Code.FORBIDDEN: "a policy forbids this request",
    Code.UNEVALUABLE: "the request could not be decided, so it is denied",
    Code.LEASE_EXPIRED: "this node has lost contact with its control plane for too long",
    Code.REVOKED: "the peer is revoked",
    Code.UNREADABLE_BODY: "the body cannot be read in one way only, or is too large",
    Code.CLAIM_NOT_ALLOWED: "purpose, data class or subject region are not within the caller's certificate",
    Code.UNKNOWN_RESOURCE: "no such resource is declared",
    Code.PEER_UNREACHABLE: "the peer cannot be reached, or no policy lets this node reach it",
}
PERMISSION_DENIED = 403


def local_replies(direction: str) -> dict[str, Any]:
    """Envoy's local_reply_config of one listener."""
    by_code = [_mapper(code, direction, _named(code)) for code in MESSAGES]
    for mapper in by_code:
        if mapper["body_format_override"]["json_format"]["error"]["code"] == Code.PEER_UNREACHABLE.value:
            mapper["status_code"] = 404  # no such peer, as far as this node may know
    unreachable = [{"response_flag_filter": {"flags": ["UH", "UF", "NC", "NR", "UC", "UT", "UO", "LH"]}}]
    by_cause = [_mapper(Code.PEER_UNREACHABLE, direction, one) for one in unreachable]
    too_large = {"status_code_filter": {"comparison": {"op": "EQ", "value": _number(413)}}}
    return {"mappers": [*by_code, _mapper(Code.UNREADABLE_BODY, direction, too_large), *by_cause]}


def _number(value: int) -> dict[str, Any]:
    return {"default_value": value, "runtime_key": "writ.never_set"}


def _named(code: Code) -> dict[str, Any]:
    """Did an RBAC filter deny with this code? Metadata is not yet set when the reply is made; the details are."""
    expression = f"response.code_details.startsWith('rbac_access_denied_matched_policy[{code.value}/')"
    kind = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"
    return {"extension_filter": {"name": "cel", "typed_config": {"@type": kind, "expression": expression}}}


def _mapper(code: Code, direction: str, when: dict[str, Any]) -> dict[str, Any]:
    message = MESSAGES[code]
    if direction == "out":
        message += " (%RESPONSE_CODE_DETAILS%)"
    error = {"message": message, "type": "writ_denied", "code": code.value, "param": None}
    header = {"key": "writ-record-id", "value": f"%REQ(writ-request-id)%/{direction}"}
    return {
        "filter": when,
        "headers_to_add": [{"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}],
        "body_format_override": {"json_format": {"error": error}},
    }
