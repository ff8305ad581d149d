"""What Envoy enforces follows what was verified, also after it had dropped everything."""

import time

import pytest
from sidecar import CALLER, POLICY, Running

from agent.envoy import ads
from agent.errors import NotAcknowledgedError

ME = "spiffe://acme.example/fr/paris/app-1"


def test_what_envoy_dropped_when_its_agent_fell_silent_comes_back_whole() -> None:
    running = Running(lease_s=2)
    with running as sidecar:
        assert sidecar.ask().allowed
        deadline = time.monotonic() + 15
        while sidecar.ask().status != 500:  # first the lease denies, then the gate itself is gone
            assert time.monotonic() < deadline
            time.sleep(0.05)
        running.run(running.enforce(lease_s=600))
        assert sidecar.ask().allowed
        assert sidecar.ask(body=b'{"model":"secret"}').code == "unknown_resource"


def test_a_revocation_and_its_end_take_effect_at_once() -> None:
    running = Running()
    with running as sidecar:
        assert sidecar.ask().allowed
        running.run(running.enforce(floors={ME: None}))
        assert sidecar.ask().code == "revoked"
        running.run(running.enforce(floors={ME: 2}))
        assert sidecar.ask().code == "revoked"
        assert sidecar.ask(sidecar.pki.node("app-1", attributes=CALLER, epoch=2)).allowed
        running.run(running.enforce())
        assert sidecar.ask().allowed


@pytest.mark.parametrize("epoch", [1, 9])
def test_epochs_just_above_the_floor_are_accepted(epoch) -> None:
    with Running() as sidecar:
        assert sidecar.ask(sidecar.pki.node("app-1", attributes=CALLER, epoch=epoch)).allowed


def test_policies_that_change_never_open_what_both_forbid() -> None:
    """While one policy replaces another, a request that both deny is denied throughout."""
    other = POLICY.replace('"clinical-chat"', '"chat-2"').replace("<= 2", "<= 3")
    running = Running()
    with running as sidecar:
        for number in range(20):
            running.run(running.enforce(policy=other if number % 2 else POLICY))
            answer = sidecar.ask(headers=[], claims=True, body=b'{"model":"secret"}')
            assert not answer.allowed
            assert sidecar.ask().allowed


FORBID_ALL = '@id("nobody")\nforbid (principal, action in Action::"infer", resource);\n'


class Steps:
    """What is published for one listener, step by step; the last of `failing` steps is not acknowledged."""

    def __init__(self, running: Running, failing: int = 0) -> None:
        self.seen: list[set[str]] = []
        self._failing, self._server = failing, running.plane._server
        self._publish, self._before = self._server.publish, dict(running.plane._filters)
        self._server.publish = self

    async def __call__(self, snapshot: ads.Snapshot) -> None:
        await self._publish(snapshot)
        now = snapshot.get(ads.EXTENSION, self._before)
        names = ("forbids-in", "permits-in")
        changed = {name for name in names if now[name].version != self._before[name].version}
        self._before = dict(now)
        self.seen += [changed] if changed else []
        if self._failing and len(self.seen) == self._failing:
            self._failing = 0
            raise NotAcknowledgedError("too late")


BOTH, FORBIDS, PERMITS = {"forbids-in", "permits-in"}, {"forbids-in"}, {"permits-in"}


@pytest.mark.parametrize(
    ("old", "new", "steps"),
    [
        (POLICY, POLICY.replace("<= 2", "<= 3"), [BOTH]),
        (POLICY, POLICY + FORBID_ALL, [FORBIDS, PERMITS]),
        (POLICY + FORBID_ALL, POLICY, [PERMITS, FORBIDS]),
        (POLICY, POLICY.replace('"us"', '"fr"'), [FORBIDS, PERMITS, FORBIDS]),
    ],
    ids=["permits", "forbid added", "forbid removed", "forbid replaced"],
)
def test_forbids_that_come_are_there_before_the_permits_and_those_that_go_after_them(old, new, steps) -> None:
    running = Running(policy=old)
    with running:
        seen = Steps(running).seen
        running.run(running.enforce(policy=new, generation=8))
        assert seen == steps


def test_after_a_change_that_failed_every_step_is_taken() -> None:
    """Envoy may have taken what it did not acknowledge: what was loaded before is then not all that is in force."""
    running = Running(policy=POLICY + FORBID_ALL)
    with running as sidecar:
        steps = Steps(running, failing=2)  # the forbid has gone by then
        with pytest.raises(NotAcknowledgedError):
            running.run(running.enforce(policy=POLICY, generation=8))
        del steps.seen[:]
        running.run(running.enforce(policy=POLICY + FORBID_ALL, generation=9))
        assert steps.seen == [FORBIDS, PERMITS, FORBIDS]
        assert sidecar.ask().code == "forbidden"
