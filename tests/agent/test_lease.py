"""The lease by two clocks: one that people set, and one that only runs. Whichever ends first, ends it."""

import pytest

from agent.state import Lease

NOW, BOOT, LEASE_S = 1_800_000_000.0, 5_000.0, 900
MINUTES, YEAR = 600, 400 * 86_400
LEASE = Lease(until=int(NOW) + LEASE_S, boottime_until=BOOT + LEASE_S)


@pytest.mark.parametrize("jump", [-YEAR, -MINUTES, -1, 0])
def test_a_clock_that_is_set_back_gives_no_second_more(jump) -> None:
    """A machine whose clock is set back, or that was asleep: the running clock has gone on."""
    for passed in (0, LEASE_S - 1):
        assert LEASE.open(NOW + passed + jump, BOOT + passed)
    for passed in (LEASE_S, LEASE_S + 1, YEAR):
        assert not LEASE.open(NOW + passed + jump, BOOT + passed)
        assert LEASE.wall_until(NOW + passed + jump, BOOT + passed) <= NOW + passed + jump


@pytest.mark.parametrize("jump", [MINUTES, YEAR])
def test_a_clock_that_is_set_forward_takes_what_it_takes(jump) -> None:
    assert LEASE.open(NOW + LEASE_S - 1, BOOT)
    assert not LEASE.open(NOW + LEASE_S + jump, BOOT)
    assert LEASE.wall_until(NOW + jump, BOOT) == LEASE.until


def test_what_the_gate_is_told_is_the_earlier_of_both() -> None:
    assert LEASE.wall_until(NOW, BOOT) == NOW + LEASE_S
    assert LEASE.wall_until(NOW - MINUTES, BOOT + 10) == NOW - MINUTES + LEASE_S - 10


def test_before_anything_was_heard_there_is_none() -> None:
    assert not Lease().open(NOW, BOOT)
    assert not Lease().open(0, 0)


@pytest.mark.parametrize("behind", [0, 1, 299, MINUTES, YEAR])
def test_a_clock_that_is_behind_the_heartbeat_gets_no_more_than_the_lease(behind) -> None:
    """Also after a restart, when the heartbeat is read from disk: the clock may have been set back meanwhile."""
    heard = Lease.heard(int(NOW) + LEASE_S, int(NOW), NOW - behind, BOOT)
    assert heard.boottime_until == BOOT + LEASE_S
    late = Lease.heard(int(NOW) + LEASE_S, int(NOW), NOW + 100, BOOT)
    assert late.boottime_until == BOOT + LEASE_S - 100
