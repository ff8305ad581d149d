"""The control plane killed between two steps: nothing that was signed is unknown, nothing that was decided is forgotten."""

import asyncio
import secrets
import signal

import pytest
from attacks.whole import Whole, crash_at
from barenode import CODE, Node, trust, until
from cryptography import x509
from faults.cases import case

from certs import keys
from controlplane.cli.demo.mesh import Mesh
from controlplane.cli.errors import CliError
from controlplane.store.sqlite import SqliteStore

pytestmark = pytest.mark.timeout(120)
END_S = 20


@pytest.fixture
def mesh(tmp_path):
    with Mesh(tmp_path, lease_s=60, heartbeat_s=0.5) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


def armed(mesh: Mesh, failpoint: str) -> None:
    """Restart it to die at this place."""
    mesh.control_plane.kill()
    mesh.control_plane.environment["WRIT_FAILPOINT"] = failpoint
    mesh.start_control_plane()


def back(mesh: Mesh) -> None:
    """It has died of the failpoint, and is started again without."""
    assert mesh.control_plane.child.wait(END_S) == -signal.SIGKILL
    del mesh.control_plane.environment["WRIT_FAILPOINT"]
    mesh.start_control_plane()


def serial(chain) -> str:
    return f"{x509.load_der_x509_certificate(chain[0]).serial_number:x}"


async def logged(mesh: Mesh) -> set[str]:
    """Serials that the stopped control plane knows of."""
    store = SqliteStore.open(mesh.directory / "controlplane" / "writ.db")
    try:
        items, _ = await store.list("certificate/")
    finally:
        await store.close()
    return {item.key.rpartition("/")[2] for item in items}


@case(1, "killed after the serial was stored, before signing", "the retry gets that certificate, once")
def test_a_serial_that_was_never_signed_is_signed_for_the_retry(tmp_path) -> None:
    assert not crash_at("issue.stored")(Whole(tmp_path))


@case(2, "killed after signing, before the answer", "the retry gets the same one; none is unlogged")
def test_a_renewal_that_was_signed_and_lost_is_given_again(mesh, tmp_path, saw) -> None:
    node, key, idempotency = Node(mesh, "crash", tmp_path), keys.generate_p256(), secrets.token_urlsafe(20)
    armed(mesh, "issue.signed")
    assert node.renew(mesh.replicas[0], key, idempotency) is CODE.UNAVAILABLE
    back(mesh)
    first, again = (node.renew(mesh.replicas[0], key, idempotency) for _ in range(2))
    mesh.control_plane.kill()
    known = asyncio.run(logged(mesh))
    assert first == again
    assert known == {serial(node.chain), serial(first)}
    saw(f"{len(known)} certificates, {len(known)} logged")


@case(3, "killed after the commit, before it was published", "the restart publishes it, once")
def test_a_revocation_that_was_stored_is_published_by_the_restart(mesh, tmp_path) -> None:
    gone, other = (Node(mesh, name, tmp_path) for name in ("gone", "other"))
    armed(mesh, "node.stored")
    with pytest.raises(CliError):
        mesh.revoke("gone.paris")
    back(mesh)
    stream = other.listen(mesh.replicas[0])
    until(lambda: stream.trust)
    assert trust(stream.trust[-1]).floors["spiffe://demo.example/fr/paris/gone"] is None
    assert gone.renew(mesh.replicas[0], keys.generate_p256(), "r" * 20) is CODE.PERMISSION_DENIED
    stream.close()
