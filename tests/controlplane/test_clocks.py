"""Clocks that are wrong by minutes, and by a year: the control plane's, the node's, and one that is set back while it runs."""

import pytest
from attacks.desk import Desk
from pki import NOW, TD, Pki

from agent import identity
from agent.errors import IdentityError
from certs import verify
from certs.errors import ChainError
from controlplane.errors import UnavailableError

MINUTES, YEAR = 600, 400 * 86_400
DAY_LATER = NOW + 86_400  # than the CAs were made


@pytest.fixture(scope="module")
def desk(tmp_path_factory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def stored(desk: Desk) -> list[str]:
    """What a certificate or the use of a token leaves behind."""
    return [
        key for key in desk.store._items if key.startswith(("certificate/", "idempotent/", "key/", "mesh"))
    ]


@pytest.mark.parametrize("shift", [-YEAR, YEAR])
def test_a_control_plane_that_is_a_year_off_issues_nothing_and_uses_no_token(desk, shift) -> None:
    async def enrols(desk: Desk) -> bool:
        desk.now += shift
        text = await desk.invited("gpu-1")
        refused = await desk.enrol(text)
        assert isinstance(refused, UnavailableError)
        assert "cannot issue" in str(refused)
        assert (stored(desk), desk.signer.signed) == ([], [])
        desk.now -= shift
        return isinstance(await desk.enrol(await desk.invited("gpu-2")), tuple)

    assert desk.through(enrols)


@pytest.mark.parametrize(("shift", "believed"), [(-MINUTES, True), (0, True), (45, True), (MINUTES, False)])
def test_what_a_control_plane_issues_whose_clock_is_minutes_off(desk, shift, believed) -> None:
    """Late, it is believed for as much shorter; early, nobody believes it before its time, and nobody is harmed."""

    async def enrols(desk: Desk) -> bool:
        desk.now = DAY_LATER + shift
        leaf, ca = await desk.enrol(await desk.invited("gpu-1"))
        try:
            verify.verify_node(leaf, [ca], TD, DAY_LATER)
        except ChainError:
            return False
        return True

    assert desk.through(enrols) is believed


async def set_back(desk: Desk) -> bool:
    """The clock is set back by ten minutes between two renewals of one certificate: what was answered is answered again."""
    text = await desk.invited("gpu-1")
    first = await desk.enrol(text)
    desk.now -= MINUTES
    again = await desk.enrol(text, idempotency="b" * 20)
    assert isinstance(again, Exception)  # a token that was used stays used
    serial = f"{verify.load(first[0]).serial_number:x}"
    return (await desk.nodes.get("gpu-1", "paris")).serial == serial


def test_a_clock_that_is_set_back_gives_nothing_twice(desk) -> None:
    assert desk.through(set_back)


@pytest.mark.parametrize(
    ("shift", "why"), [(-MINUTES, "not valid yet"), (-YEAR, "not valid yet"), (MINUTES, ""), (YEAR, "")]
)
def test_a_node_whose_clock_is_behind_takes_no_certificate_and_says_why(shift, why) -> None:
    """Ahead, it takes it, and does with it what is done with one that has ended: it renews."""
    pki = Pki()
    node = pki.node("gpu-1")
    chain = (node.der, pki.node_ca)
    if why:
        with pytest.raises(IdentityError, match=why):
            identity.make(node.key, chain, pki.root, NOW + shift)
    else:
        assert identity.make(node.key, chain, pki.root, NOW + shift).not_after == NOW + 3600
