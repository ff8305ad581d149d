"""A shadow policy decides nothing, and says of every request what it does once it is in force."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from sidecar import POLICY, Answer, Running, state

from agent.evidence import lines
from agent.evidence.tail import POLL_S, Tail
from agent.shadow import ALLOW, Shadow
from audit import record

pytestmark = pytest.mark.timeout(60)

PERMISSIVE = '@id("all") permit (principal, action, resource);'
SHADOWS = {
    "all that is denied is allowed": PERMISSIVE,
    "all that is allowed is denied": '@id("none") forbid (principal, action, resource);',
    "nothing": "",
    "another purpose": POLICY.replace('context.purpose == "treatment"', 'context.purpose == "research"'),
    "by path and by stream": """
        @id("p") permit (principal, action, resource) when { context.path like "/v1/chat/*" || context.stream };
        @id("f") forbid (principal, action, resource) when { context.data_class >= 2 && !context.stream };
    """,
}
REQUESTS = [
    {
        "headers": [("writ-purpose", purpose), ("writ-data-class", digit), ("writ-subject-region", region)],
        **what,
    }
    for purpose in ("treatment", "research")
    for digit in "012"
    for region in ("fr", "us")
    for what in (
        {},
        {"path": "/v1/embeddings"},
        {"path": "/v1/models", "method": "GET", "body": None},
        {"body": b'{"model":"other"}'},
    )
]
PATIENCE_S = 10


@dataclass
class Place:
    """A sidecar and its access log."""

    running: Running
    tail: Tail

    def replay(self) -> tuple[list[Answer], list[bytes]]:
        """The answers to all requests, and the lines that Envoy wrote of them, in order."""
        answers = [self.running.sidecar.ask(claims=False, **request) for request in REQUESTS]
        written: list[bytes] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(written) < len(REQUESTS):
            assert time.monotonic() < deadline, f"{len(written)} lines"
            written += filter(lines.ended, self.tail.read())
            time.sleep(POLL_S)
        return answers, written

    def enforce(self, policy: str) -> None:
        self.running.run(self.running.enforce(policy=policy))

    def recorded(self, policy: str, written: list[bytes]) -> list[record.DecisionRecord]:
        """What an agent with this shadow makes of its access log."""
        mine, sidecar = self.running.mine, self.running.sidecar
        bundle = state(sidecar.pki, sidecar.backend.server_port, mine, policy=policy).bundle
        assert bundle is not None
        recorder = lines.Recorder(str(mine.spiffe_id), "test", Shadow(bundle, mine).consider)
        return [record.load(recorder.entry(text, seq).data) for seq, text in enumerate(written)]  # type: ignore[misc]


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    made = Running(policy=POLICY)
    with made as sidecar:
        yield Place(made, Tail(sidecar.directory / "access.log"))


def test_what_a_shadow_cannot_say_it_does_not_say(place: Place) -> None:
    """Lines of ended requests have no address: a guess would be recorded as a verdict."""
    place.enforce(POLICY)
    _, written = place.replay()
    near = "permit (principal, action, resource) when { context.source_ip.isLoopback() };"
    records = place.recorded(f'@id("near") {near}', written)
    assert {item.shadow for item in records if item.code != "unknown_resource"} == {""}


@pytest.mark.parametrize("name", SHADOWS)
def test_a_shadow_enforces_nothing_and_says_what_it_would_do(
    place: Place, outcomes: Counter[tuple[str, str]], name: str
) -> None:
    place.enforce(POLICY)
    plain, written = place.replay()
    records = place.recorded(SHADOWS[name], written)
    assert [(item.code, item.allowed) for item in records] == [(one.code, one.allowed) for one in plain]
    place.enforce(SHADOWS[name])
    then, _ = place.replay()
    assert [item.shadow == ALLOW for item in records] == [one.allowed for one in then]
    outcomes["dry run 28", "harmless"] += len(REQUESTS)
