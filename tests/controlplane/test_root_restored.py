"""A store that was put back to before the root was changed: agents do not go back, so it has to follow."""

import pytest
from rotating import DOMAIN, Plane, World, agent, ceremony, hears

from controlplane.errors import InvalidError, PreconditionError
from controlplane.services.authority import authorities
from controlplane.services.restore import epochs
from controlplane.services.restore.mark import Mark
from controlplane.signer.file import FileSigner
from controlplane.store.memory import MemoryStore
from controlplane.store.sqlite import SqliteStore


async def put_back(
    world: World, rows_: dict[str, bytes], revision: int
) -> tuple[SqliteStore, authorities.Authorities]:
    store, directory = SqliteStore.open(world.directory / "again.db"), world.directory / "one"
    await epochs.restore(store, int(world.clock()), revision, rows_)
    return store, authorities.load(directory, FileSigner(directory / "keys", b"p" * 32))


async def test_a_state_from_before_a_change_follows_it_with_the_word_of_an_agent(tmp_path) -> None:
    world = World(tmp_path, MemoryStore())
    one, held = await world.first(), agent(world)
    items, revision = await world.store.list("")
    before = {item.key: item.value for item in items}
    await one.root_rotation.prepare(ceremony(world))
    hears(held, one)
    await one.root_rotation.activate()
    await one.root_rotation.retire(force=True)
    await one.root_rotation.note()
    hears(held, one)
    told = one.publisher.anchors.delegation, one.publisher.issue.trust

    store, made = await put_back(world, before, revision)
    mark = Mark(tmp_path / "mark")
    with pytest.raises(PreconditionError, match="before the root was changed"):
        await epochs.begin(store, mark, [], made, int(world.clock()))
    verified = epochs.verified(*told, made, int(world.clock()))
    await epochs.begin(store, mark, [verified], made, int(world.clock()))

    again = Plane(store, made, made.signer, "one", world.clock, tmp_path / "one")
    await again.begin()
    assert again.made.now == one.made.now
    assert hears(held, again).roots.believed == one.made.roots
    assert hears(agent(world), again).trust_domain == DOMAIN
    await store.close()


async def test_an_agent_of_another_root_is_believed_nothing(tmp_path) -> None:
    """The directory beside the store has not heard of a change: what an agent holds is then no document of this mesh."""
    world = World(tmp_path, MemoryStore())
    one = await world.first()
    await one.root_rotation.prepare(ceremony(world))
    await one.root_rotation.activate()
    await one.root_rotation.retire(force=True)
    stale = authorities.load(tmp_path / "one", one.signer)
    stale.stand([])
    with pytest.raises(InvalidError, match="no documents of this mesh"):
        epochs.verified(
            one.publisher.anchors.delegation, one.publisher.issue.trust, stale, int(world.clock())
        )
