"""Open streams are judged on the hour and on where they come from; what cannot be judged ends."""

import time
from dataclasses import replace

import pytest
import sidecar
from cryptography import x509
from pki import Pki

from agent import identity
from agent.evidence.lines import OpenStream
from agent.judge import Judge
from certs.attributes import Attributes, rendered
from policies.model import ResourceKey

PERMIT = '@id("p") permit(principal, action, resource) when {{ {} }};'
DAY_MS = 86_400_000
NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


@pytest.fixture(scope="module")
def pki() -> Pki:
    return Pki(now=int(time.time()))


@pytest.fixture(scope="module")
def stream(pki: Pki) -> OpenStream:
    leaf = pki.node("app-1", "paris", "FR", sidecar.CALLER)
    return OpenStream(
        id="1",
        direction="in",
        peer="spiffe://acme.example/fr/paris/app-1",
        epoch=1,
        action="chat",
        resource="Model/ngram",
        protocol="openai",
        method="POST",
        path="/v1/chat/completions",
        purpose="treatment",
        data_class="1",
        subject_region="fr",
        arguments="",
        stream=True,
        subject=rendered(x509.load_der_x509_certificate(leaf.der).subject),
        source="192.0.2.7:4711",
        upstream_local="",
        upstream_remote="",
    )


def judge(pki: Pki, condition: str) -> Judge:
    leaf = pki.node("gpu-1", "berlin", "DE", Attributes(class_ceiling=4))
    mine = identity.make(leaf.key, (leaf.der, pki.node_ca), pki.root, pki.now)
    return Judge(sidecar.state(pki, 1, mine, policy=PERMIT.format(condition)), leased=True)


def test_a_stream_ends_at_its_hour(pki: Pki, stream: OpenStream) -> None:
    made = judge(pki, 'context.now.toTime() < duration("13h")')
    assert made.may_go_on(stream, NOON_MS)
    until = made.holds_until(NOON_MS)
    assert until == NOON_MS + DAY_MS // 24
    assert made.may_go_on(stream, until - 1)
    assert not made.may_go_on(stream, until)
    assert made.holds_until(until) == NOON_MS + DAY_MS // 2
    assert made.may_go_on(stream, NOON_MS + DAY_MS // 2)


def test_a_moment_turns_once(pki: Pki) -> None:
    made = judge(pki, 'context.now < datetime("2000-01-01")')
    at = 946_684_800_000
    assert (made.holds_until(at - 1), made.holds_until(at)) == (at, None)
    assert judge(pki, "context.stream").holds_until(0) is None


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("192.0.2.7:4711", True),
        ("[2001:db8::1]:4711", False),
        ("10.0.0.1:1", False),
        ("", False),
        ("x:1", False),
    ],
)
def test_a_stream_is_judged_on_the_address_it_comes_from(
    pki: Pki, stream: OpenStream, source: str, expected: bool
) -> None:
    made = judge(pki, 'context.source_ip.isInRange(ip("192.0.2.0/24"))')
    assert made.may_go_on(replace(stream, source=source), NOON_MS) is expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ('"path=/data/x"', True),
        ('"path=/etc/x"', False),
        ('"path"', False),
        ('"mode=/data/x"', False),
        ("", False),
    ],
)
def test_a_call_of_a_tool_is_judged_on_the_arguments_it_began_with(
    pki: Pki, stream: OpenStream, told: str, expected: bool
) -> None:
    """Also under rules that ask for others: what was not looked for then cannot be decided again, and ends."""
    leaf = pki.node("gpu-1", "berlin", "DE", Attributes(class_ceiling=4))
    mine = identity.make(leaf.key, (leaf.der, pki.node_ca), pki.root, pki.now)
    policy = (
        '@id("data") permit (principal, action == Action::"tool", resource)'
        ' when { context.arguments.hasTag("path") && context.arguments.getTag("path") like "/data/*" };'
    )
    tools = (ResourceKey("Tool", "search", sidecar.CALLEE),)
    made = Judge(sidecar.state(pki, 1, mine, policy=policy, resources=tools), leased=True)
    called = replace(stream, action="tool", resource="Tool/search", protocol="mcp", arguments=told)
    assert made.may_go_on(called, NOON_MS) is expected


@pytest.mark.parametrize("field", ["purpose", "protocol", "method", "path", "data_class", "subject"])
def test_a_stream_without_what_it_was_decided_on_ends(pki: Pki, stream: OpenStream, field: str) -> None:
    made = judge(pki, "true")
    assert made.may_go_on(stream, NOON_MS)
    assert not made.may_go_on(replace(stream, **{field: ""}), NOON_MS)
