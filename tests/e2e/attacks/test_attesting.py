"""Every attack on enrolment by a machine certificate is stopped, and every control is the reason; and how it should go."""

import asyncio

import pytest
from attacks.attesting import CONTROLS, HOUR_S, Box, Hall, got
from attacks.control import Control, by_name, falls, holds

from certs import keys
from certs.csr import make_csr
from controlplane import model
from controlplane.errors import BusyError, InvalidError, NotAttestedError, UnavailableError
from controlplane.services import rows
from controlplane.services.identity import enrolment


@pytest.fixture(scope="module")
def hall(tmp_path_factory) -> Hall:
    return Hall(tmp_path_factory.mktemp("hall"))


@by_name(CONTROLS)
def test_attacks_are_stopped(control: Control, hall, tally) -> None:
    holds(control, hall, tally)


@by_name(CONTROLS)
def test_without_the_control_an_attack_gets_through(control: Control, hall, monkeypatch, tally) -> None:
    control.switch_off(monkeypatch)
    falls(control, hall, tally)


def goes_well(work):
    """A test that is given a new desk."""

    def test(hall) -> None:
        async def run(subject) -> bool:
            await work(subject)
            return False

        assert not hall.through(run)

    test.__doc__ = work.__doc__
    return test


@goes_well
async def test_a_machine_nobody_declared_is_a_node_with_its_tier(hall) -> None:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    found, row = box.identity(hall), await hall.nodes.get("gpu-1", "paris")
    assert (found.spiffe_id.short, found.attributes.tier, found.attributes.groups) == (
        "gpu-1.paris",
        2,
        frozenset(),
    )
    assert (row.state, row.attested_by, row.attested_tier, row.attested_at) == (
        "enrolled",
        "x509pop",
        2,
        hall.now,
    )


@goes_well
async def test_evidence_that_is_due_renews_and_is_not_due_again(hall) -> None:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    hall.now += HOUR_S
    shown = box.evidence(hall, make_csr(box.mine))
    assert await box.renews(hall, shown)
    assert await box.renews(hall, idempotency="s" * 20)
    assert box.identity(hall).epoch == 1


@goes_well
async def test_what_was_shown_in_the_future_is_not_fresh(hall) -> None:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    row = await hall.nodes.get("gpu-1", "paris")
    due = []
    for shift in (-400 * 24 * HOUR_S, -601, -600, 0, HOUR_S - 1, HOUR_S, 400 * 24 * HOUR_S):
        hall.now = row.attested_at + shift
        due.append(hall.enrolment._attestation.due(row))
    assert due == [True, True, False, False, False, True, True]


@goes_well
async def test_a_tier_that_fell_kills_certificates_that_say_more(hall) -> None:
    """An operator trusts machine certificates less than before: what shows one again is worth less, for peers too."""
    box = Box("gpu-1")
    assert await box.enrols(hall)
    hall.enrolment._attestation.configured["x509pop"].attestor._tier = 1
    assert await box.renews(hall, box.evidence(hall, make_csr(box.mine)))
    row = await hall.nodes.get("gpu-1", "paris")
    assert (box.identity(hall).attributes.tier, row.epoch, row.floor, row.renew_floor) == (1, 2, 2, 1)


@goes_well
async def test_two_enrolments_of_one_name_at_once_leave_one_certificate_that_counts(hall) -> None:
    boxes = [Box("gpu-1") for _ in range(4)]
    done = await asyncio.gather(*(box.enrols(hall, idempotency=f"{n:020d}") for n, box in enumerate(boxes)))
    row = await hall.nodes.get("gpu-1", "paris")
    epochs = sorted(box.identity(hall).epoch for box, ok in zip(boxes, done, strict=True) if ok)
    assert sum(done) >= 1
    assert len(set(epochs)) == len(epochs)
    assert (epochs[-1], row.floor, row.renew_floor) == (row.epoch, row.epoch, row.epoch)


@goes_well
async def test_a_lost_reply_is_given_again_with_a_new_challenge(hall) -> None:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    first = box.leaf
    assert await box.enrols(hall)
    assert (box.leaf, box.identity(hall).epoch) == (first, 1)


@goes_well
async def test_a_machine_takes_its_own_name_again_and_the_certificate_before_is_dead(hall) -> None:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    box.mine = keys.generate_p256()
    assert await box.enrols(hall, idempotency="b" * 20)
    row = await hall.nodes.get("gpu-1", "paris")
    assert (box.identity(hall).epoch, row.floor) == (2, 2)


@goes_well
async def test_a_freed_name_may_be_attested_by_another(hall) -> None:
    await hall.enrol(await hall.invited("gpu-1"))
    await hall.nodes.revoke("gpu-1", "paris", "moves to its own certificate")
    await hall.nodes.unrevoke("gpu-1", "paris")
    assert await Box("gpu-1").enrols(hall, idempotency="b" * 20)
    assert (await hall.nodes.get("gpu-1", "paris")).attested_by == "x509pop"


@goes_well
async def test_what_is_refused_changes_nothing(hall) -> None:
    victim = Box("gpu-1")
    assert await victim.enrols(hall)
    before, _ = await hall.store.list("")
    for shown in (
        victim.evidence(hall, make_csr(victim.mine), keys.generate_p256()),
        Box("GPU-2").evidence(hall, make_csr(victim.mine)),
    ):
        with pytest.raises(NotAttestedError):
            await hall.enrolment.enrol(shown, "x" * 20, "there")
    hall.store.on_commit = UnavailableError("the store is away")
    assert not await victim.enrols(hall, idempotency="y" * 20)
    hall.store.on_commit = None
    assert (await hall.store.list(""))[0] == before


@goes_well
async def test_an_operator_lowers_a_tier_and_widens_it_no_further_than_the_evidence(hall) -> None:
    box = Box("gpu-1")
    assert await box.enrols(hall)
    row = await hall.nodes.get("gpu-1", "paris")
    assert row.declared.tier == 4
    for tier, effective, floor in ((4, 2, 1), (3, 2, 1), (1, 1, 2), (4, 2, 2)):
        wanted = model.dataclasses.replace(row.declared, tier=tier)
        after, _ = await hall.nodes.set_attributes("gpu-1", "paris", wanted)
        assert (after.effective_tier, after.floor) == (effective, floor)
    assert await rows.find(hall.store, model.NodeRow, "node/paris/gpu-1")


@goes_well
async def test_refused_proofs_are_counted_by_address_and_bounded(hall) -> None:
    victim, tried = Box("gpu-1"), []
    for number in range(enrolment.MAX_REFUSED_PER_MINUTE + 20):
        shown = victim.evidence(hall, make_csr(victim.mine), keys.generate_p256())
        with pytest.raises((NotAttestedError, BusyError)) as caught:
            await hall.enrolment.enrol(shown, f"{number:020d}", "there")
        tried.append(caught.type)
    assert tried.count(NotAttestedError) == enrolment.MAX_REFUSED_PER_MINUTE
    assert await victim.enrols(hall)  # from another address
    hall.now += 60
    shown = victim.evidence(hall, make_csr(victim.mine))
    assert await got(hall.enrolment.enrol(shown, "later-" * 4, "there"))


@goes_well
async def test_a_request_that_proves_nothing_is_refused_before_evidence_is_looked_at(hall) -> None:
    box = Box("gpu-1")
    before, _ = await hall.store.list("")
    other = keys.spki(keys.generate_p256().public_key())
    good = make_csr(box.mine)
    for csr in (
        b"",
        good[:-1],
        good + b"\0",
        good.replace(keys.spki(box.mine.public_key()), other),  # another node's key
        b"\x30" * 10_000_000,
    ):
        shown = box.evidence(hall, csr)
        with pytest.raises(InvalidError):
            await hall.enrolment.enrol(shown, "c" * 20, "here")
    assert (await hall.store.list(""))[0] == before
    assert await box.enrols(hall)
