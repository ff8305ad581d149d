"""Open streams as a harness: a real Envoy, a real answer without end, and the agent's own eye on the access log.

Envoy goes on allowing here: whatever ends a stream, the agent cut it.
"""

import contextlib
import http.client
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from attacks import mutants
from attacks.control import Control
from attacks.ingress import GOOD, ME
from sidecar import POLICY, Running, state, tls

from agent.cutter import Cutter
from agent.evidence import lines
from agent.evidence.lines import Line, OpenStream
from agent.evidence.tail import POLL_S, Tail
from agent.judge import Judge

STREAMED = b'{"model":"ngram","stream":true}'
WORDS = 100
PATIENCE_S = 10
NO_CHAT = POLICY.replace('context.purpose == "treatment"', 'context.purpose == "billing"')


@dataclass
class Streams:
    """An attack got through if its stream flows on."""

    running: Running

    def through(self, attack: Callable[["Streams"], bool]) -> bool:
        return attack(self)

    def __post_init__(self) -> None:
        self.tail = Tail(self.running.sidecar.directory / "access.log")
        self.cutter = Cutter(self.running.sidecar.port, 3600)

    def judge(self, *, leased: bool = True, **changes) -> Judge:
        sidecar = self.running.sidecar
        return Judge(
            state(sidecar.pki, sidecar.backend.server_port, self.running.mine, **changes), leased=leased
        )

    @contextlib.contextmanager
    def stream(self) -> Iterator[http.client.HTTPResponse]:
        """A streamed answer, of which words have come."""
        sidecar = self.running.sidecar
        self.tail.read()  # what was there before
        connection = http.client.HTTPSConnection(
            "127.0.0.1", sidecar.port, timeout=PATIENCE_S, context=tls(sidecar.caller)
        )
        connection.request("POST", "/v1/chat/completions", STREAMED, dict(GOOD))
        answer = connection.getresponse()
        assert answer.read(5) == b"word "
        try:
            yield answer
        finally:
            connection.close()

    def opened(self) -> Line:
        """The start record of the stream, however late it is read."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for text in self.tail.read():
                if not lines.ended(text):
                    return lines.decode(text)
            assert time.monotonic() < deadline, "no start record"
            time.sleep(POLL_S)


def flows(answer: http.client.HTTPResponse) -> bool:
    """Do many more words come?"""
    try:
        return all(answer.read(5) for _ in range(WORDS))
    except (OSError, http.client.HTTPException):
        return False


def known(**changes) -> Callable[[Streams], bool]:
    """A stream that the agent knows of, when the state changes."""

    def attack(streams: Streams) -> bool:
        with streams.stream() as answer:
            stream: OpenStream = lines.open_stream(streams.opened())
            streams.cutter.rejudge(streams.judge(**changes), [stream])
            return flows(answer)

    return attack


def unknown(**changes) -> Callable[[Streams], bool]:
    """A stream that opened while the state changed: its start is read afterwards."""

    def attack(streams: Streams) -> bool:
        with streams.stream() as answer:
            streams.cutter.rejudge(streams.judge(**changes), [])
            streams.cutter.opened(streams.opened())
            return flows(answer)

    return attack


def connection_of_a_revoked_peer(streams: Streams) -> bool:
    """Between two requests there is no stream to judge: the connection itself must go."""
    with streams.stream() as answer:
        stream = lines.open_stream(streams.opened())
        streams.cutter.disconnect({ME}, [stream])
        return flows(answer)


REVOKED = {"floors": {ME: None}}
CONTROLS = (
    Control(
        8,
        "cut: streams of a revoked peer",
        [
            ("a stream open since before the revocation", known(**REVOKED)),
            ("a stream of an epoch that died", known(floors={ME: 2})),
        ],
        mutants.code(
            Judge, "_peer_counts", "return floor is not None and stream.epoch >= floor", "return True"
        ),
    ),
    Control(
        8,
        "cut: a start is judged however late it comes",
        [
            ("a stream opened during the revocation", unknown(**REVOKED)),
            ("a stream opened as the lease ended", unknown(leased=False)),
        ],
        mutants.code(Cutter, "opened", "if not verdict:", "if False:"),
    ),
    Control(
        8,
        "cut: connections of a revoked peer",
        [("a connection between two requests", connection_of_a_revoked_peer)],
        mutants.code(Cutter, "disconnect", "if stream.peer in revoked:", "if False:"),
    ),
    Control(
        1,
        "cut: streams whose lease has ended",
        [("a stream that outlives the lease", known(leased=False))],
        mutants.code(Judge, "may_go_on", "not self._leased or ", ""),
    ),
    Control(
        1,
        "cut: streams that nothing permits any more",
        [("a stream that outlives its policy", known(policy=NO_CHAT))],
        mutants.code(Judge, "may_go_on", ".decide(asked).allowed", ".decide(asked) is not None"),
    ),
)
