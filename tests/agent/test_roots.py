"""The roots that an agent believes: kept over restarts and crashes, and found when it meets a mesh that has gone on."""

import base64
import contextlib
import hashlib
import json
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from pki import TD, Pki
from rooted import Root, change, document, first, sealed

from agent import contact, identity, roots
from agent.errors import EnrolError
from certs import keys
from certs.profile import CaKind
from controlplane.api.gen import enrolment_pb2, enrolment_pb2_grpc
from policies import roots as walking

NOW = int(time.time())
OLD = Pki(now=NOW)
FIRST, SECOND, THIRD, THIEF = first(OLD), *(Root(serial, now=NOW) for serial in (20, 30, 40))
CHANGE, NEXT = change(FIRST, SECOND), change(SECOND, THIRD, 3)
BOTH = walking.follow(walking.pinned(OLD.root), [CHANGE], TD)


def test_what_is_kept_is_there_after_a_restart(tmp_path) -> None:
    assert roots.load(tmp_path) is None
    roots.keep(tmp_path, BOTH)
    assert roots.load(tmp_path) == BOTH
    roots.keep(tmp_path, BOTH.since(SECOND.der))
    assert roots.load(tmp_path).believed == (SECOND.der,)


def test_a_root_that_was_dropped_does_not_come_back(tmp_path) -> None:
    """A renewal that began before is kept after: its walk began at the old root."""
    roots.keep(tmp_path, BOTH.since(SECOND.der))
    roots.keep(tmp_path, BOTH)
    assert roots.load(tmp_path).believed == (SECOND.der,)


def test_between_two_files_nothing_is_lost(tmp_path) -> None:
    """The change is there before the pin moves; a pin that has moved needs it no more."""
    roots.keep(tmp_path, BOTH)
    (tmp_path / roots.ROOT).write_bytes(SECOND.der)
    assert roots.load(tmp_path).believed == (SECOND.der,)


@pytest.mark.parametrize("text", ["", "{", "[1]", '["x"]', '["e30="]', "{}", "null"])
def test_changes_that_cannot_be_read_leave_the_pin(tmp_path, text: str) -> None:
    roots.keep(tmp_path, BOTH)
    (tmp_path / roots.CHANGES).write_text(text)
    assert roots.load(tmp_path).believed == (OLD.root,)


def test_a_forged_change_on_disk_is_not_believed(tmp_path) -> None:
    roots.keep(tmp_path, walking.pinned(OLD.root))
    forged = sealed(document(FIRST, THIEF), THIEF, THIEF)
    text = json.dumps([base64.b64encode(forged).decode()])
    (tmp_path / roots.CHANGES).write_text(text)
    assert roots.load(tmp_path).believed == (OLD.root,)


# --- meeting a control plane -----------------------------------------------------------------------------------------


class Enrolment(enrolment_pb2_grpc.EnrolmentServicer):
    """Tells these changes to everybody."""

    def __init__(self, *changes: bytes) -> None:
        self._changes = changes

    def ListRootChanges(self, *_: object) -> enrolment_pb2.ListRootChangesResponse:  # noqa: N802 - named by the API
        return enrolment_pb2.ListRootChangesResponse(changes=self._changes)


@contextlib.contextmanager
def serving(pki: Pki, above: bytes, *changes: bytes):
    leaf, server = pki.control_plane(), grpc.server(ThreadPoolExecutor(1))
    enrolment_pb2_grpc.add_EnrolmentServicer_to_server(Enrolment(*changes), server)
    shown = identity.pem(leaf.der, pki.cp_ca, above)
    port = server.add_secure_port(
        "127.0.0.1:0", grpc.ssl_server_credentials([(keys.dump_private(leaf.key, None), shown)])
    )
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


def below(of: Root) -> Pki:
    """A control plane below this root."""
    made = Pki(now=NOW, root_key=of.key)
    made.root = of.der
    made.cp_ca = of.ca(CaKind.CONTROL_PLANE, made.cp_ca_key, 99)
    return made


KNOWN = {"by its hash": hashlib.sha256(OLD.root).hexdigest(), "by its certificate": walking.pinned(OLD.root)}


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
async def test_who_pins_the_first_root_meets_a_mesh_two_roots_later(known) -> None:
    mesh = below(THIRD)
    with serving(mesh, THIRD.der, CHANGE, NEXT) as address:
        met, ca = await contact.meet(address, known, NOW)
    assert (met.believed, ca) == ((OLD.root, SECOND.der, THIRD.der), mesh.cp_ca)


FORGED = {
    "none": (),
    "by the new root alone": (sealed(document(FIRST, THIEF), THIEF, THIEF),),
    "from another root": (change(SECOND, THIEF),),
    "of our mesh, and then one of the thief's": (CHANGE, sealed(document(SECOND, THIEF, version=3), THIEF, THIEF)),
    "to another root than the one shown": (CHANGE,),
    "garbage": (b"x",),
    "too many": (CHANGE,) * 17,
}  # fmt: skip


@pytest.mark.parametrize("known", KNOWN.values(), ids=KNOWN)
@pytest.mark.parametrize("changes", FORGED.values(), ids=FORGED)
async def test_a_control_plane_of_a_thief_leads_nobody_to_its_root(known, changes) -> None:
    with serving(below(THIEF), THIEF.der, *changes) as address, pytest.raises(EnrolError) as caught:
        await contact.meet(address, known, NOW)
    assert "mesh" in caught.value.hint or "root" in str(caught.value)
