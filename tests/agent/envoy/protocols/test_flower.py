"""Flower, HTTP and gRPC: what the client of 1.42 and its stub send."""

from harness import Place

CALLS = [
    ("activate-node", "ActivateNode", "join"),
    ("send-node-heartbeat", "SendNodeHeartbeat", "join"),
    ("pull-messages", "PullMessages", "fl-pull"),
    ("get-run", "GetRun", "fl-pull"),
    ("get-fab", "GetFab", "pull"),
    ("push-messages", "PushMessages", "fl-push"),
    ("pull-object", "PullObject", "pull"),
    ("push-object", "PushObject", "push"),
    ("confirm-message-received", "ConfirmMessageReceived", "fl-pull"),
]


def test_what_the_clients_send_is_what_it_is(place: Place) -> None:
    assert place.replay("flwr") == [
        *((f"POST /v1/fleet/{path}", f"flower {action} Service/flower none") for path, _, action in CALLS),
        *(
            (f"POST /flwr.proto.Fleet/{method}", f"flower {action} Service/flower none")
            for _, method, action in CALLS
        ),
    ]


def test_operating_the_federation_is_administration(place: Place) -> None:
    place.ask("POST", "/v1/control/start-run", b"x")
    assert place.web.backend.seen[-1]["headers"]["writ-action"] == "admin"
