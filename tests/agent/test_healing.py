"""A node's certificate heals alone: at half of its life, after a night's sleep, when it is asked, and not all at once."""

import asyncio
import time
from dataclasses import dataclass

import embedded
import pytest
from clients import token

from agent import config, enrol, roots
from agent.controlplanes import ControlPlanes
from agent.identity import Identity
from agent.monitor import RED_SHARE, Span
from agent.renewing import Renewing
from certs.renewal import SPREAD, renew_at

pytestmark = pytest.mark.timeout(120)
NIGHT_S = 8 * 3600
HOUR = 3600


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with embedded.control_plane(tmp_path_factory.mktemp("heal")) as made:
        yield made


@dataclass
class Node:
    """The part of an agent that renews, on a clock that can jump."""

    renewing: Renewing
    mine: Identity
    became: asyncio.Queue[Identity]
    ahead_s: float = 0.0


async def node(mesh, directory, name: str) -> Node:
    (directory / "state").mkdir()
    (directory / "token").write_text(await asyncio.to_thread(token, mesh, name))
    api = mesh.replicas[0].api
    (directory / "agent.toml").write_text(
        f'state_dir = "{directory / "state"}"\ncontrol_planes = ["{api}"]\n'
        f'[join]\ntoken_file = "{directory / "token"}"\n'
    )
    settings = config.load(directory / "agent.toml")
    mine = await enrol.enrol(settings, int(time.time()))
    known, ca = roots.load(directory / "state"), (directory / "state" / enrol.CA).read_bytes()
    control_planes = ControlPlanes(settings.control_planes, lambda: made.mine, lambda: (ca,))

    async def become(identity: Identity) -> None:
        made.mine = identity
        await control_planes.renewed()
        made.became.put_nowait(identity)

    renewing = Renewing(
        settings,
        lambda: known,
        control_planes,
        lambda: made.mine,
        become,
        clock=lambda: time.time() + made.ahead_s,
    )
    made = Node(renewing, mine, asyncio.Queue())
    return made


@pytest.fixture
async def running(mesh, tmp_path, request):
    made = await node(mesh, tmp_path, f"node-{abs(hash(request.node.name)) % 10**9}")
    task = asyncio.ensure_future(made.renewing.run())
    yield made
    task.cancel()
    await asyncio.wait([task])


async def test_at_half_its_life_it_is_renewed(running) -> None:
    before = running.mine
    running.ahead_s = HOUR * 0.56  # past half-life and its spread
    after = await running.became.get()
    assert (after.spiffe_id, after.epoch) == (before.spiffe_id, before.epoch)
    assert after.serial != before.serial


async def test_a_machine_that_slept_a_night_heals_alone(running) -> None:
    """Its timers stood still, its certificate has ended, and nobody has a token for it."""
    before = running.mine
    running.ahead_s = NIGHT_S
    after = await running.became.get()
    assert (after.spiffe_id, after.epoch) == (before.spiffe_id, before.epoch)
    assert after.serial != before.serial


async def test_of_a_tainted_ca_it_is_replaced_and_of_another_it_is_not(running) -> None:
    before = running.mine
    running.renewing.reissue(frozenset({b"another CA"}), 0)
    running.renewing.reissue(frozenset({before.chain[1]}), 0)
    running.renewing.reissue(frozenset({before.chain[1]}), 0)  # told again: once is enough
    after = await running.became.get()
    assert after.serial != before.serial
    await asyncio.sleep(0)
    assert running.became.empty()


async def test_a_control_plane_that_is_away_is_asked_until_it_is_back(mesh, running) -> None:
    await asyncio.to_thread(mesh.control_plane.kill)
    running.renewing.soon()
    waiting = asyncio.ensure_future(running.became.get())
    await asyncio.to_thread(mesh.start_control_plane)
    assert (await waiting).serial == running.mine.serial


@pytest.mark.parametrize("life_s", [60, 150, 3600, 86_400])
def test_it_is_red_long_after_it_should_have_renewed_and_long_before_it_ends(life_s) -> None:
    latest = renew_at(0, life_s, 1.0)
    assert latest == int(life_s * 0.5 * (1 + SPREAD))
    certificate = Span(begins=0, ends=life_s)
    red_from = life_s * (1 - RED_SHARE)
    assert not certificate.short(latest)
    assert not certificate.short(red_from - 1)
    assert certificate.short(red_from + 1)
    assert red_from - latest >= life_s / 5  # time for many tries
    assert certificate.left(red_from) >= life_s / 6  # time for an operator


def test_nodes_that_enrolled_together_do_not_renew_together() -> None:
    moments = {renew_at(0, HOUR, jitter / 50 - 1) for jitter in range(101)}
    assert (min(moments), max(moments)) == (1620, 1980)  # 50 % less and more a tenth
    assert len(moments) > 90
    for beyond in (-1.01, 1.01):
        with pytest.raises(RuntimeError):
            renew_at(0, HOUR, beyond)
