"""Nothing that is protected is reached, however it is spelled: each attempt is denied, or means the same to every server."""

from collections import Counter
from collections.abc import Iterator

import pytest
from bypass.cases import CASES, Case
from bypass.readings import protected
from bypass.wire import CHAT, CHATS, Reply, http1, http2, stream
from sidecar import CALLEE, Running, Sidecar

from policies.model import ResourceKey

pytestmark = pytest.mark.timeout(120)

POLICY = """
@id("one-model")
permit (principal, action, resource is Model) when { resource.name == "ngram" };
@id("one-tool")
permit (principal, action, resource is Tool) when { resource.name == "add" };
@id("one-argument")
forbid (principal, action == Action::"tool", resource)
when { context.arguments.hasTag("path") && context.arguments.getTag("path") like "*secret*" };
@id("everything-else")
permit (principal, action, resource is Service);
@id("not-admin")
forbid (principal, action == Action::"connect", resource) when { context.path like "/admin*" };
"""
KEYS = tuple(
    ResourceKey(kind, name, CALLEE)
    for kind, name in (
        ("Model", "ngram"),
        ("Model", "secret"),
        ("Tool", "add"),
        ("Tool", "secret"),
        ("Service", "http"),
        ("Service", "openai"),
        ("Service", "oip"),
        ("Service", "mcp"),
    )
)


@pytest.fixture(scope="module")
def sidecar() -> Iterator[Sidecar]:
    with Running(policy=POLICY, resources=KEYS) as running:
        yield running


def outcome(sidecar: Sidecar, before: int, reply: Reply) -> str:
    """What the backend received decides, whatever the caller was answered."""
    reached = sidecar.backend.seen[before:]
    for seen in reached:
        assert not protected(seen), (protected(seen), seen)
    return "harmless" if reached or reply.allowed else "denied"


def test_what_is_permitted_passes_and_what_is_protected_exists(sidecar: Sidecar) -> None:
    assert http1(sidecar, CHATS, method="POST", body=CHAT).statuses == (200,)
    assert http1(sidecar, "/open").statuses == (200,)
    assert http1(sidecar, "/admin").statuses == (403,)
    assert sidecar.backend.seen[-1]["path"] == "/open"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.ref}: {case.name!a}")
def test_an_attempt_reaches_nothing_protected(
    case: Case, sidecar: Sidecar, outcomes: Counter[tuple[str, str]]
) -> None:
    before = len(sidecar.backend.seen)
    outcomes[case.ref, outcome(sidecar, before, case.send(sidecar))] += 1


@pytest.mark.parametrize(
    "place", ["/{}admin", "/adm{}n", "/admi{}", "/admin{}", "/{}/admin", "/open/{}{}/admin"]
)
def test_no_percent_encoding_reaches_it(
    place: str, sidecar: Sidecar, outcomes: Counter[tuple[str, str]]
) -> None:
    escapes = sorted({text for byte in range(256) for text in (f"%{byte:02x}", f"%{byte:02X}")})
    for some in range(0, len(escapes), 100):
        paths = [place.format(*[escape] * place.count("{}")) for escape in escapes[some : some + 100]]
        before = len(sidecar.backend.seen)
        reply = http2(sidecar, *(stream(path.encode(), method=b"GET", body=b"") for path in paths))
        assert len(reply.statuses) == len(paths)
        outcome(sidecar, before, reply)
        reached = len(sidecar.backend.seen) - before
        outcomes["all percent-encodings", "harmless"] += reached
        outcomes["all percent-encodings", "denied"] += len(paths) - reached
