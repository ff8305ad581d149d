"""Fetching bundles by one replica among several: what happens in between does not bring back what is gone."""

import asyncio

import pytest
from foreign import PARTNER, Foreign

from certs.bundle import TrustBundle
from certs.federation import Relationship
from controlplane.errors import PreconditionError, UnavailableError
from controlplane.services.duty import TAKE_OVER_S, Duty
from controlplane.services.federation import polling
from controlplane.services.federation.polling import Polling
from controlplane.services.federation.relationships import Federation
from controlplane.store.memory import MemoryStore

WANTED = Relationship(trust_domain=PARTNER, url="https://partner.example/", profile="https_web")


class World:
    """One store, replicas that poll, and an endpoint: `say` is what it answers, or how it fails."""

    def __init__(self) -> None:
        self.store, self.changes, self.now = MemoryStore(), 0, 0.0
        self.partner, self.asked, self.wait = Foreign(), 0, None
        self.say = self.partner.document
        self.federation = Federation(
            self.store, "acme.example", changed=self.changed, poll=lambda: None, clock=lambda: 1
        )

    async def changed(self) -> None:
        self.changes += 1

    async def fetch(self, of: Relationship, roots: tuple[bytes, ...]) -> bytes:
        assert (of, roots) == (WANTED, ())
        self.asked += 1
        said = self.say()
        if self.wait is not None:
            await self.wait()
        return said

    def replica(self, name: str, least_s: int = 1) -> Polling:
        return Polling(
            self.store,
            Duty(self.store, polling.DUTY, name, lambda: self.now),
            self.fetch,
            ours=lambda: TrustBundle(trust_domain="acme.example"),
            changed=self.changed,
            least_s=least_s,
        )

    async def begin(self) -> None:
        await self.federation.add(WANTED, b"", replace=False)

    async def held(self) -> bytes:
        found = (await self.federation.get(PARTNER)).bundle
        return found.document.encode() if found else b""


@pytest.fixture
def world() -> World:
    return World()


async def test_only_the_holder_of_the_duty_asks_and_another_takes_over(world) -> None:
    first, second = world.replica("one"), world.replica("two")
    await world.begin()
    await first.once()
    await second.once()
    assert (world.asked, await world.held()) == (1, world.partner.document())
    world.now += TAKE_OVER_S
    await second.once()
    assert (world.asked, world.changes) == (2, 1)  # what is unchanged is not told again


async def test_a_failure_waits_as_long_as_a_success(world) -> None:
    """By the clock of the event loop nothing is due again within the test."""

    def away() -> bytes:
        raise UnavailableError("no bundle: away")

    world.say = away
    one = world.replica("one", least_s=60)
    await world.begin()
    for _ in range(5):
        await one.once()
    found = await world.federation.get(PARTNER)
    assert (world.asked, found.polled.error, found.bundle) == (1, "no bundle: away", None)


async def test_a_relationship_that_ends_while_it_is_asked_stays_ended(world) -> None:
    await world.begin()
    world.wait = lambda: world.federation.remove(PARTNER)
    await world.replica("one").once()
    items, _ = await world.store.list("")
    assert not [item.key for item in items if PARTNER in item.key]


async def test_a_bundle_that_an_operator_gives_meanwhile_stays(world) -> None:
    await world.begin()
    theirs = world.partner.document(spiffe_sequence=50)
    world.wait = lambda: world.federation.add(WANTED, theirs, replace=False)
    await world.replica("one").once()
    assert await world.held() == theirs


async def test_a_replica_that_was_overtaken_writes_nothing(world) -> None:
    """Paused in the middle of a fetch, it comes back when another holds the duty."""
    first, second = world.replica("one"), world.replica("two")
    await world.begin()
    new = world.partner.document(spiffe_sequence=2)
    paused, go = asyncio.Event(), asyncio.Event()

    async def wait() -> None:
        world.wait = None
        paused.set()
        await go.wait()

    world.wait = wait
    late = asyncio.ensure_future(first.once())
    await paused.wait()
    await second.once()  # sees whose duty it is
    world.now += TAKE_OVER_S
    world.say = lambda: new
    await second.once()
    go.set()
    await late
    assert await world.held() == new


async def test_there_is_an_end_to_relationships(world) -> None:
    for number in range(64):
        one = Relationship(trust_domain=f"p{number}.example", url=WANTED.url, profile=WANTED.profile)
        await world.federation.add(one, b"", replace=False)
    with pytest.raises(PreconditionError):
        await world.begin()
