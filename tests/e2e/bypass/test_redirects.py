"""A server that points elsewhere moves nothing: no sidecar follows, and whoever does is decided on again."""

from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from bypass.wire import egress, http1, lines
from sidecar import CALLEE, CALLER, Backend, Running, Sidecar

from policies.model import ResourceKey

pytestmark = pytest.mark.timeout(60)

POLICY = '@id("one") permit (principal, action, resource) when { resource.name == "ngram" };'
KEYS = tuple(ResourceKey("Model", name, CALLEE) for name in ("ngram", "secret"))
SENT, SECRET = "/v2/models/ngram", "/v2/models/secret"
ELSEWHERE = {
    "another region": "http://gpu-9.boston.mesh/v2/models/ngram",
    "past the mesh": "https://198.51.100.7/v2/models/ngram",
    "what the caller may not have": f"http://{CALLEE}.mesh{SECRET}",
    "the same, by path alone": SECRET,
    "no path at all": f"//{CALLEE}.mesh/v2/models/secret",
}


class Pointing(Backend):
    """Answers what it is asked for first with a redirect, in every way there is."""

    status, to = 200, ""

    def head(self, seen: dict[str, Any]) -> tuple[int, dict[str, str]]:
        if self.status == 200 or seen["path"] != SENT:
            return 200, {}
        more = ("Content-Location", "Refresh", "X-Accel-Redirect", "X-Sendfile", "X-Reproxy-URL")
        return self.status, {"Location": self.to, **dict.fromkeys(more, self.to)}


@pytest.fixture(scope="module")
def place() -> Iterator[tuple[Sidecar, Pointing]]:
    server = Pointing()
    made = Running(
        policy=POLICY, resources=KEYS, attributes=CALLER, loop=True, backend_port=server.server_port
    )
    with made as sidecar:
        yield sidecar, server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("to", ELSEWHERE)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_sidecar_follows_and_the_application_is_decided_on_again(
    place, outcomes: Counter[tuple[str, str]], status: int, to: str, monkeypatch
) -> None:
    sidecar, server = place
    monkeypatch.setattr(server, "status", status)
    monkeypatch.setattr(server, "to", ELSEWHERE[to])
    for sent in (lambda: http1(sidecar, SENT), lambda: _out(sidecar, f"{CALLEE}.mesh", SENT)):
        before = len(server.seen)
        assert sent().statuses == (status,)
        assert [seen["path"] for seen in server.seen[before:]] == [SENT]
        outcomes["redirects 24", "harmless"] += 1
    before = len(server.seen)
    there = urlsplit(ELSEWHERE[to])
    assert not _out(sidecar, there.netloc or f"{CALLEE}.mesh", there.path).allowed
    assert len(server.seen) == before
    outcomes["redirects 24", "denied"] += 1


def _out(sidecar: Sidecar, host: str, path: str) -> Any:
    return egress(
        sidecar, f"GET {path} HTTP/1.1\r\n".encode() + lines(f"Host: {host}", "Connection: close") + b"\r\n"
    )
