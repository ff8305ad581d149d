"""One public key, one node: for as long as anything that was certified with it is kept, and for its own workloads too."""

import pytest
from attacks.desk import Desk
from pki import TD

from certs import keys, verify
from certs.csr import make_csr
from certs.profile import Profile
from controlplane.attest.base import JOIN_TOKEN, Evidence
from controlplane.errors import ControlPlaneError, NotAttestedError
from controlplane.model import KeyRow
from controlplane.services import rows
from controlplane.services.authority.jwt_authorities import JwtAuthorities
from controlplane.services.duty import Duty
from controlplane.services.housekeeping import Housekeeping
from controlplane.services.identity.key_owners import KeyTakenError
from controlplane.services.identity.workloads import Registry, WorkloadSvids
from controlplane.services.push.hub import Hub
from policies.workloads import Workload

HOUR = 3600


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


async def enrols(desk: Desk, name: str, key, idempotency: str = "a" * 20, text: str = ""):
    shown = Evidence(kind=JOIN_TOKEN, csr=make_csr(key), bearer=text or await desk.invited(name))
    return (await desk.enrolment.enrol(shown, idempotency, "here")).chain


async def renews(desk: Desk, chain, key, idempotency: str = "r" * 20):
    caller = verify.verify_node(chain[0], [chain[1]], TD, desk.now)
    return (await desk.enrolment.renew(caller, make_csr(key), idempotency)).chain


async def owner(desk: Desk, key) -> KeyRow | None:
    found = await rows.find(desk.store, KeyRow, rows.key_owner(keys.spki_sha256(key.public_key()).hex()))
    return found.row if found else None


async def forgets(desk: Desk, after_s: int) -> None:
    """As housekeeping does in the round after so long."""
    duty = Duty(desk.store, f"after-{after_s}", "one")
    assert await duty.hold()
    duty.done = rows.hour(desk.now) - 100
    later = desk.now + after_s
    await Housekeeping(desk.store, desk.publisher, duty, grace_s=0, clock=lambda: later).once()


def svids(desk: Desk) -> WorkloadSvids:
    jwt_keys = JwtAuthorities(
        desk.store, desk.made, "1", Hub(), linked=lambda: True, changed=desk.publisher.refresh
    )
    return WorkloadSvids(
        desk.store, desk.made, jwt_keys, Profile(), may_issue=lambda _: None, clock=lambda: desk.now
    )


def test_another_node_is_told_whose_it_is_not_and_its_token_stays_good(desk) -> None:
    async def attack(desk: Desk) -> bool:
        key, text = keys.generate_p256(), await desk.invited("gpu-2")
        await enrols(desk, "gpu-1", key)
        with pytest.raises(KeyTakenError, match="is another node's") as refused:
            await enrols(desk, "gpu-2", key, text=text)
        assert "gpu-1" not in f"{refused.value} {refused.value.hint}"
        return bool(await enrols(desk, "gpu-2", keys.generate_p256(), text=text))

    assert desk.through(attack)


def test_whoever_has_no_token_learns_nothing_of_keys(desk) -> None:
    """Whether a key is known is said to who was invited."""

    async def attack(desk: Desk) -> bool:
        key = keys.generate_p256()
        await enrols(desk, "gpu-1", key)
        with pytest.raises(NotAttestedError):
            await enrols(desk, "gpu-2", key, text="writ1.none")
        return True

    assert desk.through(attack)


def test_its_own_node_may_have_it_certified_again_and_keeps_it_until_the_last_certificate_is_forgotten(
    desk,
) -> None:
    async def attack(desk: Desk) -> bool:
        key = keys.generate_p256()
        desk.now += 1800
        first = await enrols(desk, "gpu-1", key)
        assert await owner(desk, key) == KeyRow(node="gpu-1.paris", not_after=desk.now + HOUR)
        desk.now += 3000
        await renews(desk, first, key)  # it ends in the hour after the one in which the first ends
        held = KeyRow(node="gpu-1.paris", not_after=desk.now + HOUR)
        assert await owner(desk, key) == held
        await forgets(desk, 25 * HOUR)
        assert len([name for name in desk.store._items if name.startswith("certificate/")]) == 1
        assert await owner(desk, key) == held
        with pytest.raises(KeyTakenError):
            await enrols(desk, "gpu-2", key)
        await forgets(desk, 26 * HOUR)
        assert await owner(desk, key) is None
        assert not [name for name in desk.store._items if name.startswith(("key/", "certificate/"))]
        return bool(await enrols(desk, "gpu-3", key))

    assert desk.through(attack)


def test_a_workload_may_use_its_own_nodes_key_and_nobody_elses(desk) -> None:
    async def attack(desk: Desk) -> bool:
        mine, other = keys.generate_p256(), keys.generate_p256()
        chain = await enrols(desk, "gpu-1", mine)
        await enrols(desk, "gpu-2", other)
        registry = Registry(desk.store, desk.publisher.refresh)
        await registry.register("gpu-1", "paris", Workload(name="web", selectors=frozenset({"unix:uid:1"})))
        caller = verify.verify_node(chain[0], [chain[1]], TD, desk.now)
        given = svids(desk)
        assert await given.issue(caller, "web", make_csr(mine))
        with pytest.raises(KeyTakenError):
            await given.issue(caller, "web", make_csr(other))
        third = keys.generate_p256()
        await given.issue(caller, "web", make_csr(third))
        with pytest.raises(KeyTakenError):
            await enrols(desk, "gpu-3", third)
        return True

    assert desk.through(attack)


def test_a_lost_answer_is_still_given_again(desk) -> None:
    async def attack(desk: Desk) -> bool:
        key, text = keys.generate_p256(), await desk.invited("gpu-1")
        first = await enrols(desk, "gpu-1", key, text=text)
        return await enrols(desk, "gpu-1", key, text=text) == first

    assert desk.through(attack)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_store_that_fails_gives_the_key_to_nobody(desk, when) -> None:
    async def attack(desk: Desk) -> bool:
        key, text = keys.generate_p256(), await desk.invited("gpu-1")
        failure = ControlPlaneError("away")
        desk.store.on_read, desk.store.on_commit = (failure, None) if when == "before" else (None, failure)
        with pytest.raises(ControlPlaneError):
            await enrols(desk, "gpu-1", key, text=text)
        desk.store.on_read = desk.store.on_commit = None
        assert await owner(desk, key) is None
        return bool(await enrols(desk, "gpu-2", key))

    assert desk.through(attack)
