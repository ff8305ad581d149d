"""Model Context Protocol: what the `mcp` client sends in both of its ways to connect, and how calls are denied."""

import json

import pytest
from harness import Place

from policies.model import Code

LISTED = "mcp discover Service/mcp read"
CALLS = [
    "mcp tool Tool/add read",
    "mcp pull Dataset/note://one read",
    "mcp pull Dataset/ask read",
    "denied",
]


def test_what_the_client_sends_is_what_it_is(place: Place) -> None:
    assert [what for _, what in place.replay("mcp")] == [
        LISTED,  # server/discover
        LISTED,  # tools/list
        *CALLS,
        LISTED,  # initialize
        LISTED,  # notifications/initialized
        "mcp discover Service/mcp none stream",
        LISTED,
        *CALLS,
        "mcp discover Service/mcp none",  # the end of the session
    ]


def call(name: str, id_: str = "7") -> bytes:
    return b'{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"%s"}}' % (
        id_.encode(),
        name.encode(),
    )


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [
        ("7", 7),
        ("-1", -1),
        ("0", 0),
        ('"a-1.b:c_d"', "a-1.b:c_d"),
        ("null", None),
        ("1.5", None),
        ('"a b"', None),
        ('"\\u0041"', None),
        ('"%REQ(x)%"', None),
        ('{"a":1}', None),
        ("true", None),
        ('"' + "a" * 99 + '"', None),
    ],
)
def test_a_denial_is_a_json_rpc_error_with_the_id_if_it_is_safe(
    place: Place, sent: str, echoed: object
) -> None:
    reply = place.ask("POST", "/mcp", call("other", sent), content_type="application/json")
    assert (reply.status, reply.headers["content-type"]) == (403, "application/json")
    answer = reply.json
    assert (answer["jsonrpc"], answer["id"], answer["error"]["code"]) == ("2.0", echoed, -32093)
    assert answer["error"]["data"] == {
        "code": "unknown_resource",
        "record": reply.headers["writ-record-id"],
    }
    assert "other" not in reply.body.decode()


def test_an_id_that_the_application_forges_is_not_echoed(place: Place) -> None:
    reply = place.ask("POST", "/mcp", b"[]", writ_rpc_id='1,"x":2')
    assert reply.json["id"] is None


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (json.dumps([json.loads(call("add"))]).encode(), {}),
        (b"[]", {}),
        (call("add"), {"mcp-method": "tools/list"}),
        (call("add"), {"mcp-name": "other"}),
        (b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}', {"mcp-name": "add"}),
        (call("add").replace(b"tools/call", b"TOOLS/call"), {}),
    ],
)
def test_what_could_be_read_otherwise_is_denied(place: Place, body: bytes, headers: dict[str, str]) -> None:
    reply = place.send("POST", "/mcp", body, headers)
    assert reply.json["error"]["data"]["code"] == Code.UNREADABLE_BODY.value


def test_a_method_that_nobody_knows_is_connect(place: Place) -> None:
    place.ask("POST", "/mcp", b'{"jsonrpc":"2.0","id":1,"method":"x/y"}')
    assert place.web.backend.seen[-1]["headers"]["writ-action"] == "connect"
