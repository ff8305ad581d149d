"""Older and newer than this program: a store of another version, an agent of another version, news in another order."""

import asyncio
import dataclasses
import json
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from typing import get_type_hints

import pytest
from barenode import Node, renewed
from faults.cases import case
from hypothesis import given
from hypothesis import strategies as st
from pki import NOW
from signed import NODE, Signed

from controlplane import authority_rows, model
from controlplane.cli.demo.mesh import Mesh
from controlplane.store.sqlite import SqliteStore
from policies.errors import DocumentError

pytestmark = pytest.mark.timeout(120)
SIGNED = Signed()
OTHER = NODE.replace("gpu-1", "app-1")
KINDS = {"node/": model.NodeRow, "certificate/": model.CertificateRow, "replica/": authority_rows.ReplicaRow}


@pytest.fixture
def mesh(tmp_path):
    with Mesh(tmp_path, lease_s=60, heartbeat_s=0.5) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        yield made


@case(
    35, "a store of another version of this program", "a newer one is refused untouched, an older one serves"
)
def test_a_newer_store_is_refused_and_not_touched(mesh) -> None:
    mesh.control_plane.kill()
    path = mesh.directory / "controlplane" / "writ.db"
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA user_version = 99")
    opened.close()
    before = path.read_bytes()
    command = [sys.executable, "-m", "controlplane", "--config", str(mesh.replicas[0].config)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "schema version 99, this program knows" in done.stderr) == (1, True), done.stderr
    assert "hint: upgrade this control plane" in done.stderr
    assert path.read_bytes() == before


@case(
    35, "a store of another version of this program", "a newer one is refused untouched, an older one serves"
)
def test_rows_from_before_a_field_was_added_are_read(mesh, tmp_path, saw) -> None:
    """Every field that has a default may be missing: that is how fields were added."""
    node = Node(mesh, "old", tmp_path)
    mesh.control_plane.kill()
    aged = asyncio.run(_age(mesh))
    mesh.start_control_plane()
    renewed(node, mesh.replicas[0])
    stream = node.listen(mesh.replicas[0])  # whose hello says nothing but an address, as the first agents'
    assert stream.next_beat(10)
    stream.close()
    saw(f"{aged} rows of {len(KINDS)} kinds")


async def _age(mesh: Mesh) -> int:
    """Take out of all rows what holds no more than a default."""
    store, aged = SqliteStore.open(mesh.directory / "controlplane" / "writ.db"), 0
    for prefix, kind in KINDS.items():
        defaults = _defaults(kind)
        for item in (await store.list(prefix))[0]:
            row = json.loads(item.value)
            kept = {
                name: value for name, value in row.items() if name not in defaults or value != defaults[name]
            }
            aged += 1
            await store.commit(expect={item.key: item.revision}, put={item.key: json.dumps(kept).encode()})
    await store.close()
    assert aged >= len(KINDS)
    return aged


def _defaults(kind: type) -> dict[str, object]:
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
    assert found.keys() <= get_type_hints(kind).keys()
    return found


def _news(generation: int) -> bytes:
    """Who is revoked grows with each generation."""
    revoked = {f"{OTHER}-{number}": None for number in range(generation)}
    return SIGNED.trust(generation=generation, floors=revoked)


NEWS = {generation: _news(generation) for generation in range(1, 9)}


@case(36, "news of revocations doubled and out of order", "the newest holds: nobody comes back")
@given(order=st.lists(st.sampled_from(sorted(NEWS)), min_size=1, max_size=30))
def test_whatever_order_news_come_in_the_newest_holds(order: Sequence[int]) -> None:
    node, highest = SIGNED.node(), 0
    node.update_delegation(SIGNED.delegation(), NOW)
    for generation in order:
        accepted = _offered(node, NEWS[generation])
        assert accepted is (generation >= highest)
        highest = max(highest, generation)
        assert node.trust is not None
        assert len(node.trust.floors) == highest == node.trust.generation


def _offered(node, data: bytes) -> bool:
    try:
        node.update_trust(data, NOW)
    except DocumentError:
        return False
    return True
