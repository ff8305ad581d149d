"""Who takes its time gets no further: bodies that never end, messages in drops, answers that fall silent."""

import http.client
import ssl
from collections import Counter
from collections.abc import Iterator

import pytest
from attacks.streams import Streams
from bypass.wire import CHAT, CHATS, Stream, connect, exchange, http1, http2, lines, stream
from grpc_backend import GrpcBackend
from rpc_bodies import NAMED, framed
from sidecar import CALLEE, POLICY, Running, Sidecar

from agent.evidence import lines as log
from policies.model import ResourceKey

pytestmark = pytest.mark.timeout(60)
IMPATIENT = {"idle_s": 1, "max_stream_s": 3}
DROP_S = 0.1
HEAD = f"POST {CHATS} HTTP/1.1\r\n".encode() + lines("Host: x", f"Content-Length: {len(CHAT)}") + b"\r\n"
CHUNKED = f"POST {CHATS} HTTP/1.1\r\n".encode() + lines("Host: x", "Transfer-Encoding: chunked") + b"\r\n"


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    with Running(settings=IMPATIENT) as running:
        yield running


@pytest.mark.parametrize(
    "sent",
    [
        HEAD,
        HEAD + CHAT[:1],
        HEAD + CHAT[:-1],
        CHUNKED,
        CHUNKED + b"%x\r\n" % len(CHAT) + CHAT + b"\r\n",  # whole, but nobody says that it has ended
        CHUNKED + b"ffff\r\n" + CHAT,
    ],
)
def test_a_body_that_never_ends_is_answered_for_by_nobody(
    sidecar, outcomes: Counter[tuple[str, str]], sent: bytes
) -> None:
    before = len(sidecar.backend.seen)
    with connect(sidecar) as connection:
        assert exchange(connection, sent).statuses == (408,)
    assert sidecar.backend.seen[before:] == []
    outcomes["slow and silent 16", "denied"] += 1


def test_a_body_in_drops_ends_with_its_time(sidecar, outcomes: Counter[tuple[str, str]]) -> None:
    """Each drop is a sign of life: what ends it is that no stream is for ever."""
    before = len(sidecar.backend.seen)
    with connect(sidecar) as connection:
        connection.sendall(CHUNKED)
        connection.settimeout(DROP_S)
        answer = b""
        while not answer:
            try:
                connection.sendall(b"1\r\n \r\n")
                answer = connection.recv(65536) or b"closed"
            except TimeoutError:
                continue
            except (OSError, ssl.SSLError):
                answer = b"closed"
    assert b" 200 " not in answer
    assert sidecar.backend.seen[before:] == []
    outcomes["slow and silent 16", "denied"] += 1


def test_many_who_wait_keep_nobody_waiting(sidecar, outcomes: Counter[tuple[str, str]]) -> None:
    waiting = [connect(sidecar) for _ in range(50)]
    for connection in waiting:
        connection.sendall(HEAD + CHAT[:-1])
    assert http1(sidecar, CHATS, method="POST", body=CHAT).statuses == (200,)
    for connection in waiting:
        connection.close()
    outcomes["slow and silent 16", "harmless"] += 1


def test_of_a_message_that_never_ends_the_server_gets_nothing(outcomes: Counter[tuple[str, str]]) -> None:
    keys = (ResourceKey("Model", "ngram", CALLEE),)
    policy = '@id("one") permit (principal, action, resource);'
    with (
        GrpcBackend() as server,
        Running(policy=policy, resources=keys, backend_port=server.port, settings=IMPATIENT) as sidecar,
    ):
        whole, half = framed(NAMED), framed(NAMED)[:-1]
        reply = http2(sidecar, _open(whole + half))
        assert reply.statuses in {(), (200,)}
        assert [message for call in server.seen for message in call.messages] == [NAMED]
    outcomes["slow and silent 16", "denied"] += 1


class _Open(Stream):
    """A stream that its client never ends."""

    def write(self, machine, number: int) -> None:
        machine.send_headers(number, list(self.headers))
        machine.send_data(number, self.body)


def _open(body: bytes) -> Stream:
    grpc = ((b"content-type", b"application/grpc"), (b"te", b"trailers"))
    made = stream(b"/inference.GRPCInferenceService/ModelStreamInfer", *grpc, body=body)
    return _Open(made.headers, made.body)


def ended(answer: http.client.HTTPResponse) -> bool:
    """Not merely silent."""
    try:
        return answer.read(1) == b""
    except TimeoutError:
        return False
    except (OSError, http.client.HTTPException):
        return True


def test_an_answer_that_is_silent_is_cut_like_any_other(
    outcomes: Counter[tuple[str, str]], monkeypatch
) -> None:
    """No byte flows, so nothing else would tell that its permission has gone."""
    running = Running()
    with running as sidecar:
        monkeypatch.setattr(sidecar.backend, "pause_s", 3600)
        streams = Streams(running)
        with streams.stream() as answer:
            opened = log.open_stream(streams.opened())
            changed = POLICY.replace('"treatment"', '"billing"')
            streams.cutter.rejudge(streams.judge(policy=changed), [opened])
            assert ended(answer)
    outcomes["slow and silent 16", "denied"] += 1


def test_an_answer_that_falls_silent_ends(outcomes: Counter[tuple[str, str]], monkeypatch) -> None:
    with Running(settings=IMPATIENT) as sidecar:
        monkeypatch.setattr(sidecar.backend, "pause_s", 3600)
        body = b'{"model":"ngram","stream":true}'
        assert http1(sidecar, CHATS, method="POST", body=body).statuses == (200,)  # read until it closes
    outcomes["slow and silent 16", "harmless"] += 1
