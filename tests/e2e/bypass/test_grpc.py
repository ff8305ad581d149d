"""gRPC: no message reaches a server that some parser would take for another model than was decided on."""

from collections import Counter
from collections.abc import Iterator
from queue import SimpleQueue

import grpc
import pytest
from bypass.wire import CLAIMS, http2, stream
from grpc_backend import GrpcBackend
from rpc_bodies import MESSAGES_READ, MESSAGES_REFUSED, NAMED, framed
from sidecar import CALLEE, CALLER, Running, Sidecar

from policies.model import ResourceKey

pytestmark = pytest.mark.timeout(120)

POLICY = """
@id("one-model")
permit (principal, action, resource is Model) when { resource.name == "ngram" };
@id("open-service")
permit (principal, action, resource is Service);
"""
KEYS = tuple(
    ResourceKey(kind, name, CALLEE)
    for kind, name in (("Model", "ngram"), ("Model", "other"), ("Service", "x.Open"), ("Service", "http"))
)
UNARY, STREAM = (
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
)
WINDOW = 1 << 16  # what HTTP/2 lets a client send without waiting
OTHER = b"\x0a\x05other"


@pytest.fixture(scope="module")
def backend() -> Iterator[GrpcBackend]:
    with GrpcBackend() as running:
        yield running


@pytest.fixture(scope="module")
def sidecar(backend: GrpcBackend) -> Iterator[Sidecar]:
    with Running(
        policy=POLICY, resources=KEYS, attributes=CALLER, loop=True, backend_port=backend.port
    ) as running:
        yield running


@pytest.fixture(scope="module")
def channel(sidecar: Sidecar) -> Iterator[grpc.Channel]:
    options = [("grpc.default_authority", f"{CALLEE}.mesh")]
    with grpc.insecure_channel(f"127.0.0.1:{sidecar.egress_port}", options) as made:
        yield made


def talk(channel: grpc.Channel, method: str, messages: list[bytes]) -> list[bytes] | grpc.StatusCode:
    """Each message after the answer to the one before; the answers, or how it ended."""
    outgoing: SimpleQueue[bytes | None] = SimpleQueue()
    call = channel.stream_stream(method)(iter(outgoing.get, None), metadata=CLAIMS, timeout=10)
    answers = []
    try:
        for message in messages:
            outgoing.put(message)
            answers.append(next(call))
        outgoing.put(None)
        answers.extend(call)
    except grpc.RpcError:
        outgoing.put(None)
        return call.code()
    return answers


def received(backend: GrpcBackend, before: int) -> list[bytes]:
    return [message for call in backend.seen[before:] for message in call.messages]


@pytest.mark.parametrize("method", [UNARY, "/inference.GRPCInferenceService/ModelReady"])
def test_what_is_permitted_passes_and_another_model_does_not(channel, backend, method) -> None:
    assert channel.unary_unary(method)(NAMED, metadata=CLAIMS, timeout=10) == NAMED
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(method)(OTHER, metadata=CLAIMS, timeout=10)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
    assert "; record " in str(refused.value.details())
    assert OTHER not in received(backend, 0)


SHORT = [case for case, body in MESSAGES_READ.items() if len(body) < WINDOW]


@pytest.mark.parametrize("case", [*SHORT, *MESSAGES_REFUSED])
def test_a_body_that_some_parser_reads_otherwise_is_denied(
    case, sidecar, backend, outcomes: Counter[tuple[str, str]]
) -> None:
    body = MESSAGES_READ.get(case) or MESSAGES_REFUSED[case]
    before = len(backend.seen)
    headers = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    http2(sidecar, stream(UNARY.encode(), *headers, body=body))
    assert received(backend, before) == ([body[5:]] if case in MESSAGES_READ else [])
    outcomes["gRPC messages", "harmless" if case in MESSAGES_READ else "denied"] += 1


@pytest.mark.parametrize(
    ("messages", "passed"),
    [
        ([NAMED, NAMED + b"\x2a\x01x", NAMED], 3),
        ([NAMED, OTHER], 1),
        ([NAMED, NAMED, OTHER, NAMED], 2),
        ([NAMED, b""], 1),
        ([NAMED, NAMED + OTHER], 1),
        ([NAMED, OTHER + NAMED], 1),
        ([OTHER], 0),
        ([OTHER, NAMED], 0),
        ([OTHER + NAMED], 0),
        ([NAMED + OTHER], 0),
        ([NAMED + NAMED], 0),
        ([b""], 0),
        ([b"\xff"], 0),
        ([NAMED + b"\x3a\x80\x80\x30" + b"z" * 0xC0000, NAMED], 2),
    ],
)
def test_every_message_of_a_stream_names_what_was_decided(
    messages, passed, channel, backend, outcomes: Counter[tuple[str, str]]
) -> None:
    before = len(backend.seen)
    answer = talk(channel, STREAM, messages)
    assert received(backend, before) == messages[:passed]
    assert answer == messages if passed == len(messages) else isinstance(answer, grpc.StatusCode)
    outcomes["gRPC streams", "harmless" if passed == len(messages) else "denied"] += 1


def test_messages_of_a_stream_may_come_in_any_pieces(sidecar, backend) -> None:
    body = framed(NAMED) + framed(NAMED + b"\x2a\x03abc") + framed(OTHER) + framed(NAMED)
    headers = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    for pieces in (1, 2, 7, len(body)):
        before = len(backend.seen)
        http2(sidecar, stream(STREAM.encode(), *headers, body=body, pieces=pieces))
        assert OTHER not in received(backend, before)


@pytest.mark.parametrize(
    "method",
    [
        "/inference.GRPCInferenceService/modelinfer",
        "/inference.GRPCInferenceService/ModelInfer/",
        "/inference.GRPCInferenceService//ModelInfer",
        "/inference.GRPCInferenceService/./ModelInfer",
        "/inference%2EGRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelInfe%72",
        "/INFERENCE.GRPCInferenceService/ModelInfer",
        "/x.Open/../inference.GRPCInferenceService/ModelInfer",
        "inference.GRPCInferenceService/ModelInfer",
        "/inference.GRPCInferenceService/ModelInfer?x",
    ],
)
def test_no_spelling_of_a_method_is_another_method(
    method, sidecar, backend, outcomes: Counter[tuple[str, str]]
) -> None:
    before = len(backend.seen)
    headers = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    http2(sidecar, stream(method.encode(), *headers, body=framed(OTHER)))
    assert received(backend, before) == []
    outcomes["gRPC methods", "denied"] += 1


def test_a_service_that_no_row_knows_needs_to_be_declared(channel, backend) -> None:
    assert talk(channel, "/x.Open/Any", [b"1", b"2"]) == [b"1", b"2"]
    assert talk(channel, "/x.Closed/Any", [b"1"]) is grpc.StatusCode.PERMISSION_DENIED
    assert backend.seen[-1].metadata["writ-resource"] == "Service/x.Open"
