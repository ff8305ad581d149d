"""End what may not go on: streams one by one, and the connections of a peer that is wholly revoked.

A stream is ended at its loopback socket (at the callee towards the local server, at the caller towards the local
application), so that nothing else on the same mTLS connection notices. What cannot be ended is named, with the time by
which it ends by itself.
"""

import time
from collections.abc import Iterable

import structlog

from agent.envoy import cut
from agent.envoy.cut import Cut
from agent.evidence import lines
from agent.evidence.lines import Line, OpenStream
from agent.judge import Judge

log = structlog.get_logger()
MAX_NAMED = 64
MAX_VERDICTS = 10_000


class Cutter:
    """Knows the newest judge; is told of every stream that opens."""

    def __init__(self, ingress_port: int, max_stream_s: int) -> None:
        self._ingress_port, self._max_stream_s = ingress_port, max_stream_s
        self._judge: Judge | None = None
        self._verdicts: dict[tuple[str, ...], bool] = {}
        self._verdicts_until: int | None = None
        self.not_cut: dict[str, str] = {}

    def rejudge(self, judge: Judge, streams: Iterable[OpenStream]) -> int:
        """Hold every open stream against a new state; the number that was ended."""
        now_ms = _now_ms()
        self._judge = judge
        self._forget(now_ms)
        return sum(self._end(stream) for stream in list(streams) if not judge.may_go_on(stream, now_ms))

    def opened(self, line: Line) -> None:
        """A stream is judged when its start is read, however late that is: it may have slipped past a change.

        Equal inputs have equal verdicts as long as the judge is the same and no condition on time turns: under load most
        streams are alike.
        """
        if self._judge is None:
            return
        now_ms = _now_ms()
        if self._verdicts_until is not None and now_ms >= self._verdicts_until:
            self._forget(now_ms)
        key = _decided_on(line)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._judge.may_go_on(lines.open_stream(line), now_ms)
            if len(self._verdicts) < MAX_VERDICTS:
                self._verdicts[key] = verdict
        if not verdict:
            self._end(lines.open_stream(line))

    @property
    def due_ms(self) -> int | None:
        """When every stream must be judged again, though nothing else changes."""
        return self._verdicts_until

    def _forget(self, now_ms: int) -> None:
        self._verdicts = {}
        self._verdicts_until = self._judge.holds_until(now_ms) if self._judge else None

    def disconnect(self, revoked: set[str], streams: Iterable[OpenStream]) -> None:
        """Destroy the mTLS connections of revoked peers."""
        for stream in list(streams):
            if stream.peer in revoked:
                self._destroy_connection(stream)

    def _end(self, stream: OpenStream) -> bool:
        local, remote = _loopback(stream)
        result = cut.destroy(local, remote) if local and remote else Cut.GONE
        log.info(
            "stream_cut", id=stream.id, direction=stream.direction, peer=stream.peer, result=result.value
        )
        if result is Cut.NOT_PERMITTED and len(self.not_cut) < MAX_NAMED:
            until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self._max_stream_s))
            self.not_cut[stream.id] = f"{stream.id} until {until}"
        return result is Cut.DONE

    def _destroy_connection(self, stream: OpenStream) -> None:
        if stream.direction == "out":
            pair = cut.parse(stream.upstream_local), cut.parse(stream.upstream_remote)
            if pair[0] and pair[1]:
                cut.destroy(pair[0], pair[1])
            return
        remote = cut.parse(stream.source)
        for local, other in cut.established(self._ingress_port):
            if other == remote:
                cut.destroy(local, other)


def _now_ms() -> int:
    return int(time.time() * 1000)


def _decided_on(line: Line) -> tuple[str, ...]:
    """All that a verdict can depend on: see `Judge`."""
    asked = (line.action, line.resource, line.protocol, line.method, line.path, line.stream, line.args)
    source = line.src.rpartition(":")[0]
    return (source, line.dir, line.peer, line.subject, line.purpose, line.data_class, line.region, *asked)


def _loopback(stream: OpenStream) -> tuple[cut.Endpoint | None, cut.Endpoint | None]:
    """(local, remote) of the socket between this Envoy and its own host's program."""
    if stream.direction == "in":
        return cut.parse(stream.upstream_local), cut.parse(stream.upstream_remote)
    remote = cut.parse(stream.source)
    if remote is None:
        return None, None
    found = [pair for pair in cut.established(remote.port) if pair[0] == remote]
    return found[0] if found else (None, None)
