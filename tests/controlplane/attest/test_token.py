"""Join tokens as an attestor. Attacks on their exchange: `tests/e2e/attacks/enrolling.py`."""

import dataclasses

import pytest
from conformance.attest import AttestConformance, request

from controlplane.attest.base import JOIN_TOKEN, Evidence
from controlplane.attest.token import REFUSED, Invitation, JoinToken, JoinTokens, stored_name
from controlplane.errors import NotAttestedError

NOW = 1_800_000_000
TOKEN = JoinToken(
    secret=b"s" * 32,
    root_sha256="ab" * 32,
    address="cp:8444",
    trust_domain="acme.example",
    node="gpu-1",
    site="paris",
)


class Invited:
    """Somebody who was given the one token there is."""

    says = (JOIN_TOKEN, "gpu-1", "paris", 1)

    def __init__(self) -> None:
        self.now = NOW
        self.attestor = JoinTokens(self, tier=1, clock=lambda: self.now)

    async def find(self, name: str) -> Invitation | None:
        known = name == stored_name(TOKEN.secret)
        return Invitation(node="gpu-1", site="paris", expires_at=NOW + 600) if known else None

    def evidence(self, csr: bytes) -> Evidence:
        return Evidence(kind=JOIN_TOKEN, csr=csr, bearer=TOKEN.text())


@pytest.fixture
def desk() -> Invited:
    return Invited()


class TestJoinTokens(AttestConformance):
    async def test_every_refusal_has_one_text(self, desk) -> None:
        other = dataclasses.replace(TOKEN, node="gpu-2")
        unknown = dataclasses.replace(TOKEN, secret=b"t" * 32)
        texts = set()
        for bearer in ("", "writ1.", other.text(), unknown.text(), TOKEN.text()[:-1]):
            with pytest.raises(NotAttestedError) as caught:
                await desk.attestor.attest(Evidence(kind=JOIN_TOKEN, csr=request(), bearer=bearer))
            texts.add(str(caught.value))
        assert texts == {REFUSED}
