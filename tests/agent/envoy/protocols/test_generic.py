"""What no row knows: HTTP as Service `http`, gRPC as its service's full name; both are `connect`."""

import grpc
import pytest
from captured import Captured
from harness import Place, described


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
def test_http_that_no_row_knows_is_connect(place: Place, method: str) -> None:
    assert place.ask(method, "/any/thing?x=1").status == 200
    seen = {name.lower(): value for name, value in place.web.backend.seen[-1]["headers"].items()}
    assert described(seen) == "http connect Service/http none"
    assert seen["writ-path"] == "/any/thing"


def test_grpc_that_no_row_knows_is_its_service(place: Place) -> None:
    assert place.call(Captured("POST", "/x.Y/Any", (), messages=(b"1", b"2"))) is None
    assert described(place.server.seen[-1].metadata) == "grpc connect Service/x.Y none"
    assert place.server.seen[-1].messages == [b"1", b"2"]
    denied = place.call(Captured("POST", "/x.Z/Any", (), messages=(b"1",)))
    assert denied is not None
    assert denied.code() is grpc.StatusCode.PERMISSION_DENIED


def test_a_denial_is_plain_json(place: Place) -> None:
    reply = place.ask("GET", "/any/../thing")
    assert reply.status in {200, 403}  # Envoy resolves dots before anything looks
    reply = place.ask("GET", "/any;x")
    assert (reply.status, reply.json["error"]["code"]) == (403, "unreadable_body")


def test_an_unknown_peer_is_unreachable_in_every_protocol(place: Place) -> None:
    with (
        grpc.insecure_channel(
            f"127.0.0.1:{place.rpc.egress_port}", [("grpc.default_authority", "nobody.nowhere.mesh")]
        ) as channel,
        pytest.raises(grpc.RpcError) as denied,
    ):
        channel.unary_unary("/x.Y/Any")(b"", timeout=10)
    assert str(denied.value.details()).startswith("peer_unreachable: ")
