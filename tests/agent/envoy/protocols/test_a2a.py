"""Agent to agent: what the transports of `a2a-sdk` send, over JSON-RPC, REST and gRPC."""

import grpc
from captured import Captured
from harness import Place


def test_what_the_clients_send_is_what_it_is(place: Place) -> None:
    service = "POST /lf.a2a.v1.A2AService"
    assert place.replay("a2a") == [
        ("POST /a2a", "a2a message Service/a2a read"),
        ("POST /a2a", "a2a message Service/a2a read stream"),
        ("POST /a2a", "a2a message Service/a2a read"),
        ("POST /a2a", "a2a message Service/a2a read"),
        ("POST /a2a", "denied"),
        ("POST /message:send", "a2a message Service/a2a none"),
        ("POST /message:stream", "a2a message Service/a2a none stream"),
        ("GET /tasks/t1", "a2a message Service/a2a none"),
        ("POST /tasks/t1:cancel", "a2a message Service/a2a none"),
        ("GET /tasks/t1/pushNotificationConfigs", "denied"),
        (f"{service}/SendMessage", "a2a message Service/a2a none"),
        (f"{service}/SendStreamingMessage", "a2a message Service/a2a none stream"),
        (f"{service}/GetTask", "a2a message Service/a2a none"),
        (f"{service}/CancelTask", "a2a message Service/a2a none"),
    ]


def test_where_results_are_pushed_to_is_for_administrators_in_every_binding(place: Place) -> None:
    body = b'{"jsonrpc":"2.0","id":"1","method":"CreateTaskPushNotificationConfig","params":{}}'
    by_rpc = place.ask("POST", "/a2a", body)
    assert (by_rpc.json["id"], by_rpc.json["error"]["data"]["code"]) == ("1", "forbidden")
    by_rest = place.ask("POST", "/tasks/t1/pushNotificationConfigs", b"{}")
    assert by_rest.json["error"]["code"] == "forbidden"
    method = "/lf.a2a.v1.A2AService/CreateTaskPushNotificationConfig"
    by_grpc = place.call(Captured("POST", method, (), messages=(b"",)))
    assert by_grpc is not None
    assert by_grpc.code() is grpc.StatusCode.PERMISSION_DENIED
    assert by_grpc.details().startswith("forbidden: ")


def test_the_card_is_discovery(place: Place) -> None:
    place.ask("GET", "/.well-known/agent-card.json")
    assert place.web.backend.seen[-1]["headers"]["writ-action"] == "discover"
