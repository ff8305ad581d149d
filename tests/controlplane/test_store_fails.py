"""A store that fails in the middle of a revocation: what was not done is said, and nothing older than it is published."""

import pytest
from attacks.desk import FaultyStore
from pki import TD

from certs.issue import IssuingCa
from controlplane import model
from controlplane.api.probes import Probes, Watched
from controlplane.errors import UnavailableError
from controlplane.model import NodeRow
from controlplane.services import rows
from controlplane.services.authority.crls import Crls
from controlplane.services.identity.nodes import TOGETHER, Nodes
from controlplane.services.identity.revocation import Revocation, Selector
from controlplane.services.mesh import setup
from controlplane.services.push.hub import Hub
from controlplane.services.push.publish import Publisher
from controlplane.signer.file import FileSigner

NOW = 1_900_000_000
NAMES = tuple(f"n-{number:02}.paris" for number in range(TOGETHER + 5))


class FailsOnce(FaultyStore):
    """The commit after so many fails."""

    good = 1_000_000

    async def commit(self, **what) -> int:  # type: ignore[override]  # passed on as it is
        self.good -= 1
        if self.good == -1:
            raise UnavailableError("the store is away")
        return await super().commit(**what)


class World:
    """Nodes in a store, and what ends them."""

    def __init__(self, tmp_path) -> None:
        made = setup.make_mesh(TD, tmp_path, FileSigner(tmp_path / "keys", b"p" * 32), NOW)
        self.store = FailsOnce()
        publisher = Publisher(self.store, made, Hub(), lease_s=60, heartbeat_s=10, clock=lambda: float(NOW))
        registry = Nodes(self.store, TD, publisher.refresh, lambda: float(NOW))
        self.revocation = Revocation(self.store, registry, lambda: NOW, lambda: (made.node_ca.certificate,))

        async def cas() -> list[IssuingCa]:
            return [made.node_ca]

        self.crls = Crls(self.store, made, lambda: NOW, cas)


@pytest.fixture
async def world(tmp_path) -> World:
    made = World(tmp_path)
    for name in NAMES:
        row = NodeRow(
            trust_domain=TD, node=name.partition(".")[0], site="paris", jurisdiction="FR", state=model.ENROLLED, epoch=1
        )  # fmt: skip
        await made.store.commit(expect={}, put={rows.node_key(row.node, row.site): model.dump(row)})
    return made


async def states(world: World) -> set[str]:
    return {stored.row.state for stored in await rows.every(world.store, NodeRow, "node/")}


async def test_of_several_commits_each_says_what_became_of_its_nodes_and_again_ends_the_rest(world) -> None:
    world.store.good = 1
    hits = await world.revocation.revoke(Selector(names=NAMES), "")
    assert [hit.node.short for hit in hits] == list(NAMES)
    assert [bool(hit.generation) for hit in hits] == [True] * TOGETHER + [False] * 5
    assert {hit.error for hit in hits[TOGETHER:]} == {"the store is away"}
    assert await states(world) == {model.REVOKED, model.ENROLLED}
    assert all(hit.generation for hit in await world.revocation.revoke(Selector(names=NAMES), ""))
    assert await states(world) == {model.REVOKED}


async def test_a_key_that_could_not_be_refused_is_an_error_and_ends_nobody(world) -> None:
    world.store.good = 0
    with pytest.raises(UnavailableError):
        await world.revocation.revoke(Selector(key="a" * 64), "")
    assert await states(world) == {model.ENROLLED}


async def test_no_list_is_published_that_may_be_older_than_a_revocation(world) -> None:
    assert len(await world.crls.newest()) == 1
    world.store.on_read = UnavailableError("the store is away")
    with pytest.raises(UnavailableError):
        await world.crls.newest()

    async def page(_path: str) -> None:
        await world.crls.newest()

    probes = Probes(Watched(metrics=lambda: None, not_ready=list, page=page))
    assert (await probes._page(b"/crl.pem")).status == 503
