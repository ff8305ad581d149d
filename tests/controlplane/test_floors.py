"""The list of who is dead prunes itself: what it says of certificates that have all ended is forgotten, and nothing else."""

import dataclasses

import pytest

from certs import envelope
from certs.profile import MAX_LIFETIME_S
from controlplane import model
from controlplane.errors import ConflictError
from controlplane.services import housekeeping, rows
from controlplane.services.duty import Duty
from controlplane.services.housekeeping import Housekeeping
from controlplane.services.identity import nodes as registry
from controlplane.services.identity.nodes import Nodes
from controlplane.services.mesh import setup
from controlplane.services.push.hub import Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore
from policies import payloads

NOW, DOMAIN = 1_900_000_000, "acme.example"
LATER = NOW + housekeeping.FLOORS_S + 1


class World:
    """A registry with a clock that a test moves, and the housekeeping of one replica."""

    def __init__(self, tmp_path) -> None:
        made = setup.make_mesh(DOMAIN, tmp_path, FileSigner(tmp_path / "keys", b"p" * 32), NOW)
        self.now, self.store = NOW, MemoryStore()
        self.publisher = Publisher(
            self.store, made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: float(self.now)
        )
        self.agent, _ = self.publisher.hub.attach("spiffe://acme.example/fr/paris/witness", lambda: None)
        self.agent.lease_until = NOW  # it has told its health, and with it its time
        self.nodes = Nodes(self.store, DOMAIN, self.publisher.refresh, lambda: float(self.now))
        self.duty = Duty(self.store, "d", "one")
        self.keeping = Housekeeping(
            self.store, self.publisher, self.duty, grace_s=0, clock=lambda: float(self.now)
        )

    async def node(self, name: str, **facts) -> None:
        row = model.NodeRow(
            trust_domain=DOMAIN, node=name, site="paris", jurisdiction="FR", **{"state": model.ENROLLED, "epoch": 1, **facts}
        )  # fmt: skip
        await self.store.commit(expect={}, put={rows.node_key(name, "paris"): model.dump(row)})

    async def tidy(self) -> dict[str, int | None]:
        """Floors in the newest trust document, by node."""
        assert await self.duty.hold()
        self.agent.last_seen = max(self.agent.last_seen, self.now)
        await self.keeping.once()
        return await self.floors()

    async def floors(self) -> dict[str, int | None]:
        await self.publisher.refresh()
        payload = envelope.parse(self.publisher.issue.trust, 1 << 20).payload
        return {name.rpartition("/")[2]: floor for name, floor in payloads.load_trust(payload).floors.items()}


@pytest.fixture
async def world(tmp_path) -> World:
    return World(tmp_path)


async def test_a_revoked_node_is_listed_until_its_last_certificate_has_ended(world) -> None:
    await world.node("gone")
    await world.nodes.revoke("gone", "paris", "lost")
    assert await world.tidy() == {"gone": None}
    world.now = NOW + MAX_LIFETIME_S
    assert await world.tidy() == {"gone": None}
    world.now = LATER
    assert await world.tidy() == {}
    row = (await rows.read_node(world.store, "gone", "paris")).row
    assert (row.state, row.reason) == (model.REVOKED, "lost")


async def test_what_was_forgotten_comes_back_above_everything_it_ever_had(world) -> None:
    await world.node("gone", epoch=4)
    await world.nodes.revoke("gone", "paris", "")
    world.now = LATER
    assert await world.tidy() == {}
    await world.nodes.unrevoke("gone", "paris")
    assert await world.tidy() == {"gone": 5}


async def test_a_quarantined_node_is_never_forgotten_for_it_goes_on_to_renew(world) -> None:
    await world.node("apart")
    await world.nodes.quarantine("apart", "paris", "")
    world.now = LATER
    assert await world.tidy() == {"apart": None}
    await world.nodes.release("apart", "paris")
    assert await world.tidy() == {"apart": 2}
    world.now += housekeeping.FLOORS_S + 1
    assert await world.tidy() == {}


async def test_one_that_was_revoked_before_it_ever_enrolled_is_dead_no_more_once_it_may(world) -> None:
    await world.node("early", state=model.INVITED, epoch=0)
    await world.nodes.revoke("early", "paris", "")
    assert await world.tidy() == {"early": None}
    await world.nodes.unrevoke("early", "paris")
    assert await world.tidy() == {"early": 1}


async def test_a_control_plane_whose_clock_agents_do_not_share_brings_nobody_back_to_life(world) -> None:
    await world.node("gone")
    await world.nodes.revoke("gone", "paris", "")
    world.now, world.agent.clock_off_ms = NOW + 400 * 86400, -400 * 86400 * 1000
    assert await world.tidy() == {"gone": None}
    world.agent.connected, world.agent.clock_off_ms = False, 0  # nobody is there to ask
    assert await world.tidy() == {"gone": None}
    world.agent.connected = True
    assert await world.tidy() == {}


async def test_a_clock_that_jumps_ahead_between_two_words_of_the_agents_brings_nobody_back_to_life(
    world,
) -> None:
    await world.node("gone")
    await world.nodes.revoke("gone", "paris", "")
    world.agent.last_seen, world.now = NOW, LATER
    await world.keeping.once()
    assert await world.floors() == {"gone": None}
    assert await world.tidy() == {}  # they have told the time since


async def test_a_revocation_by_a_clock_that_is_days_late_lasts_as_long_as_the_certificate(world) -> None:
    await world.node("gone", not_after=NOW + 3600)
    world.now = NOW - 10 * 86400
    await world.nodes.revoke("gone", "paris", "")
    world.now = NOW
    assert await world.tidy() == {"gone": None}
    world.now = NOW + 2 * 3600 + 1
    assert await world.tidy() == {}


async def test_a_floor_of_an_unknown_time_stays(world) -> None:
    await world.node("old")
    await world.nodes.revoke("old", "paris", "")
    stored = await rows.find(world.store, model.NodeRow, rows.floor_key("old", "paris"))
    undated = model.dump(dataclasses.replace(stored.row, floor_at=0))
    await world.store.commit(expect={}, put={stored.key: undated})
    world.now = LATER
    assert await world.tidy() == {"old": None}


async def test_hundreds_are_forgotten_in_batches(world) -> None:
    for number in range(150):
        await world.node(f"n-{number}")
    names = [(f"n-{number}", "paris") for number in range(150)]
    for start in range(0, 150, 30):
        await world.nodes.change(names[start : start + 30], registry.revoked(""))
    assert len(await world.tidy()) == 150
    world.now = LATER
    assert await world.tidy() == {}


async def test_one_that_rose_again_meanwhile_is_not_forgotten(world, monkeypatch) -> None:
    await world.node("again")
    await world.nodes.revoke("again", "paris", "")
    world.now = world.agent.last_seen = LATER
    commit = world.duty.commit

    async def later(**what):
        monkeypatch.setattr(world.duty, "commit", commit)
        await world.nodes.unrevoke("again", "paris")
        return await commit(**what)

    monkeypatch.setattr(world.duty, "commit", later)
    assert await world.duty.hold()
    with pytest.raises(ConflictError):
        await world.keeping.once()
    assert await world.tidy() == {"again": 2}
