"""What every attestor must do: run by `tests/controlplane/attest/` for each adapter."""

import contextlib
import dataclasses
from typing import Protocol

import pytest

from certs import keys
from certs.csr import make_csr
from controlplane.attest.base import Attestor, Evidence
from controlplane.errors import NotAttestedError

DAY_S = 86_400


class Desk(Protocol):
    """An attestor, and somebody who can convince it."""

    attestor: Attestor
    now: int
    says: tuple[str, str, str, int]
    """Kind, node, site and tier of what good evidence proves."""

    def evidence(self, csr: bytes) -> Evidence:
        """Good, and never shown before."""
        ...


def request() -> bytes:
    return make_csr(keys.generate_p256())


class AttestConformance:
    """Subclasses give a `desk` fixture."""

    async def test_good_evidence_says_node_site_and_tier(self, desk: Desk) -> None:
        found = await desk.attestor.attest(desk.evidence(request()))
        assert (found.kind, found.node, found.site, found.tier) == desk.says
        assert found.until > desk.now

    async def test_evidence_is_bound_to_one_key_or_good_once(self, desk: Desk) -> None:
        """Shown with another signing request it is refused, or it goes by a name under which its use is kept."""
        shown = desk.evidence(request())
        found = await desk.attestor.attest(shown)
        again = dataclasses.replace(shown, csr=request())
        if found.once:
            assert (await desk.attestor.attest(again)).once == found.once
        else:
            with pytest.raises(NotAttestedError):
                await desk.attestor.attest(again)

    async def test_a_proof_for_another_request_is_refused(self, desk: Desk) -> None:
        shown = desk.evidence(request())
        if shown.signature:
            with pytest.raises(NotAttestedError):
                await desk.attestor.attest(dataclasses.replace(shown, csr=request()))

    @pytest.mark.parametrize("field", ["bearer", "chain", "nonce", "signature"])
    async def test_evidence_that_lacks_a_part_is_refused(self, desk: Desk, field: str) -> None:
        shown = desk.evidence(request())
        if getattr(shown, field):
            empty = type(getattr(shown, field))()
            with pytest.raises(NotAttestedError):
                await desk.attestor.attest(dataclasses.replace(shown, **{field: empty}))

    @pytest.mark.parametrize("at", [0.0, 0.3, 0.6, 0.99])
    async def test_evidence_that_was_changed_proves_nothing_else(self, desk: Desk, at: float) -> None:
        shown = desk.evidence(request())
        for changed in (
            {"bearer": _flipped_text(shown.bearer, at)},
            {"nonce": _flipped(shown.nonce, at)},
            {"signature": _flipped(shown.signature, at)},
            {"chain": (_flipped(shown.chain[0], at), *shown.chain[1:]) if shown.chain else ()},
        ):
            worse = dataclasses.replace(shown, **changed)
            if worse == shown:
                continue
            with contextlib.suppress(NotAttestedError):
                found = await desk.attestor.attest(worse)
                assert (found.kind, found.node, found.site, found.tier) == desk.says
                assert found.once, "a proof holds for exactly what was signed"

    @pytest.mark.parametrize("noise", ["", ".", "a.b.c", "\x00", "é" * 40, "x" * 100_000, "." * 10_000])
    async def test_noise_is_refused(self, desk: Desk, noise: str) -> None:
        kind, raw = desk.says[0], noise.encode()
        worse = Evidence(kind=kind, csr=request(), bearer=noise, chain=(raw,) * 9, nonce=raw, signature=raw)
        for shown in (worse, Evidence(kind=kind, csr=request())):
            with pytest.raises(NotAttestedError):
                await desk.attestor.attest(shown)

    @pytest.mark.parametrize("days", [400, 4000])
    async def test_evidence_that_has_ended_is_refused(self, desk: Desk, days: int) -> None:
        shown = desk.evidence(request())
        desk.now += days * DAY_S
        with pytest.raises(NotAttestedError):
            await desk.attestor.attest(shown)

    async def test_refusals_are_forgotten(self, desk: Desk) -> None:
        for _ in range(20):
            with pytest.raises(NotAttestedError):
                await desk.attestor.attest(Evidence(kind=desk.says[0], csr=request(), bearer="no"))
        found = await desk.attestor.attest(desk.evidence(request()))
        assert (found.node, found.site) == desk.says[1:3]

    async def test_a_bearer_token_is_in_no_text(self, desk: Desk) -> None:
        shown = desk.evidence(request())
        assert not shown.bearer or shown.bearer not in repr(shown)
        if shown.bearer:
            desk.now += 4000 * DAY_S
            with pytest.raises(NotAttestedError) as caught:
                await desk.attestor.attest(shown)
            assert shown.bearer[-40:] not in f"{caught.value!r} {caught.value.hint}"


def _flipped(data: bytes, at: float) -> bytes:
    if not data:
        return data
    place = int(at * len(data))
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _flipped_text(text: str, at: float) -> str:
    if not text:
        return text
    place = int(at * len(text))
    return text[:place] + ("A" if text[place] != "A" else "B") + text[place + 1 :]
