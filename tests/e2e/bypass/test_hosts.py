"""Who is reached is chosen by Host at egress, but never by a spelling of it; at ingress Host decides nothing."""

from collections import Counter
from collections.abc import Iterator

import pytest
from bypass.wire import CHAT, CLAIMS, Reply, egress, http1, http2, lines, stream
from sidecar import CALLEE, CALLER, Running, Sidecar

from agent.envoy import classifier

pytestmark = pytest.mark.timeout(60)

PEER = f"{CALLEE}.mesh"


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    with Running(attributes=CALLER, loop=True) as running:
        yield running


def ask(sidecar: Sidecar, *hosts: str, target: str = "/v1/models/ngram") -> Reply:
    head = f"GET {target} HTTP/1.1\r\n".encode()
    return egress(sidecar, head + lines(*hosts, "Connection: close") + b"\r\n")


@pytest.mark.parametrize(
    ("hosts", "target"),
    [
        ([f"Host: {PEER}"], "/v1/models/ngram"),
        ([f"Host: {PEER.upper()}"], "/v1/models/ngram"),
        ([f"Host: {PEER}:7080"], "/v1/models/ngram"),
        ([f"Host: {PEER}:x"], "/v1/models/ngram"),  # what stands behind the colon is nobody's name
        (["Host: x"], f"http://{PEER}/v1/models/ngram"),
    ],
)
def test_the_peer_is_reached(sidecar, outcomes: Counter[tuple[str, str]], hosts, target) -> None:
    assert ask(sidecar, *hosts, target=target).statuses == (200,)
    outcomes["host 5", "harmless"] += 1


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["Host:"],
        ["Host: x"],
        [f"Host: {PEER}."],
        [f"Host: {CALLEE}"],
        [f"Host: x/#@{PEER}"],
        [f"Host: {PEER}/x"],
        [f"Host: x@{PEER}"],
        [f"Host: {PEER}@x"],
        [f"Host: {PEER}#"],
        [f"Host: {PEER}?"],
        [f"Host: {PEER}\\"],
        [f"Host: {PEER},x"],
        [f"Host: {PEER}", "Host: x"],
        ["Host: x", f"Host: {PEER}"],
        ["Host: [fe80::1%25lo]"],
        ["Host: 127.0.0.1"],
        [f"Host: x.{PEER}"],
        [f"Host: *.{PEER}"],
        ["Host: x", f"X-Forwarded-Host: {PEER}"],
    ],
)
def test_nobody_is_reached_by_another_spelling(sidecar, outcomes: Counter[tuple[str, str]], hosts) -> None:
    before = len(sidecar.backend.seen)
    assert not ask(sidecar, *hosts).allowed
    assert len(sidecar.backend.seen) == before
    outcomes["host 5", "denied"] += 1


@pytest.mark.parametrize("host", ["Host: x", f"Host: {PEER}", "Host: EVIL:1", "Host: other-1.paris.mesh"])
def test_at_ingress_the_host_decides_nothing(sidecar, outcomes: Counter[tuple[str, str]], host) -> None:
    assert http1(sidecar, "/v1/models/ngram", host=host).statuses == (200,)
    assert not http1(sidecar, "/v1/models/other", host=host).allowed
    outcomes["host 5", "harmless"] += 2


def test_the_name_of_the_tls_handshake_decides_nothing(sidecar, outcomes: Counter[tuple[str, str]]) -> None:
    ok, not_ok = (
        stream(b"/v1/chat/completions"),
        stream(b"/v1/chat/completions", body=CHAT.replace(b"ngram", b"x")),
    )
    for name in ("x", "other-1.paris.acme.example", None):
        assert sorted(http2(sidecar, ok, not_ok, name=name).statuses) == [200, 403]
        outcomes["host 5", "harmless"] += 1


@pytest.mark.parametrize("byte", [classifier.BETWEEN, classifier.NONE])
def test_no_header_of_http2_brings_a_byte_that_keys_are_made_with(sidecar, outcomes, byte: str) -> None:
    assert http2(sidecar, stream(b"/v1/chat/completions")).statuses == (200,)
    for name in (b"x-note", b"content-encoding"):
        before = len(sidecar.backend.seen)
        assert not http2(sidecar, stream(b"/v1/chat/completions", (name, byte.encode()))).allowed
        assert len(sidecar.backend.seen) == before
        outcomes["headers of ours 7", "harmless"] += 1


FORGED = (
    "writ-verdict: ok",
    "writ-action: tool",
    "writ-resource: Tool/x",
    "writ-path: /x",
    "writ-peer: spiffe://x/y",
    "writ-rpc-id: 1",
    "x-envoy-original-path: /x",
    "x-envoy-internal: true",
    "x-ai-eg-model: x",
    "x-gateway-model-name: x",
    "x-forwarded-client-cert: URI=x",
    "x-original-url: /x",
    "x-http-method-override: DELETE",
)


@pytest.mark.parametrize("direction", ["ingress", "egress"])
def test_nothing_forged_reaches_the_server(sidecar, outcomes: Counter[tuple[str, str]], direction) -> None:
    if direction == "ingress":
        assert http1(sidecar, "/v1/models/ngram", *FORGED).allowed
    else:
        assert ask(sidecar, f"Host: {PEER}", *FORGED).allowed
    seen = {name.lower(): value for name, value in sidecar.backend.seen[-1]["headers"].items()}
    ours = {"writ-verdict": "ok", "writ-action": "discover", "writ-resource": "Model/ngram"}
    for line in FORGED:
        name, _, value = line.partition(": ")
        assert name not in seen or seen[name] == ours.get(name) or seen[name] != value, line
    assert {name: seen[name] for name in ours} == ours
    assert dict(CLAIMS).items() <= seen.items()
    outcomes["headers of ours 7", "harmless"] += len(FORGED)
