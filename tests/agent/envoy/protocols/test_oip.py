"""Open Inference Protocol v2, REST and gRPC: what `tritonclient` sends, and how it is denied."""

import grpc
from captured import Captured
from harness import Place
from rpc_bodies import NAMED


def test_what_the_clients_send_is_what_it_is(place: Place) -> None:
    service = "POST /inference.GRPCInferenceService"
    assert place.replay("tritonclient") == [
        ("GET /v2/health/live", "oip discover Service/oip none"),
        ("GET /v2/health/ready", "oip discover Service/oip none"),
        ("GET /v2/models/ngram/ready", "oip discover Model/ngram none"),
        ("GET /v2", "oip discover Service/oip none"),
        ("GET /v2/models/ngram/versions/1", "oip discover Model/ngram none"),
        ("POST /v2/models/ngram/infer", "oip tensor Model/ngram none"),
        ("POST /v2/models/ngram/versions/1/infer", "oip tensor Model/ngram none"),
        ("POST /v2/repository/models/ngram/load", "oip admin Model/ngram none"),
        ("POST /v2/models/other/infer", "denied"),
        (f"{service}/ServerLive", "oip discover Service/oip none"),
        (f"{service}/ModelReady", "oip discover Model/ngram read"),
        (f"{service}/ModelMetadata", "oip discover Model/ngram read"),
        (f"{service}/ModelInfer", "oip tensor Model/ngram read"),
        (f"{service}/RepositoryModelLoad", "oip admin Model/ngram read"),
        (f"{service}/ModelStreamInfer", "oip tensor Model/ngram read stream"),
    ]


def test_a_denial_over_rest_is_a_text(place: Place) -> None:
    reply = place.ask("POST", "/v2/models/other/infer", b"{}")
    assert (reply.status, reply.json["code"]) == (403, "unknown_resource")
    assert reply.json["error"].startswith("no such resource is declared")
    assert reply.json["record"] == reply.headers["writ-record-id"]


def test_a_denial_over_grpc_is_a_status(place: Place) -> None:
    message = NAMED.replace(b"ngram", b"other")
    denied = place.call(
        Captured("POST", "/inference.GRPCInferenceService/ModelInfer", (), messages=(message,))
    )
    assert denied is not None
    assert denied.code() is grpc.StatusCode.PERMISSION_DENIED
    assert denied.details().startswith("unknown_resource: ")
    record = dict(denied.trailing_metadata())["writ-record-id"]
    assert denied.details().endswith(f"record {record}")
