"""What is said of the store: which states fail, which warn, and the way out of each."""

import pytest

from controlplane.api.gen import overview_pb2
from controlplane.cli import status, store_checks
from controlplane.cli.checks import State

MIB = 1 << 20
ROOMY = 5000 * MIB


def etcd(*members: dict) -> overview_pb2.Store:
    """Three well members of one version, changed as said."""
    store = overview_pb2.Store(kind="etcd", room=-1)
    for number in range(3):
        well = {
            "name": f"etcd-{number}:2379",
            "up": True,
            "leads": number == 0,
            "version": "3.5.21",
            "size": MIB,
        }
        store.members.add(**{**well, **(members[number] if number < len(members) else {})})
    return store


def sqlite(room: int) -> overview_pb2.Store:
    store = overview_pb2.Store(kind="sqlite", room=room)
    store.members.add(name="/var/lib/writ/writ.db", up=True, leads=True, size=3 * MIB)
    return store


DOWN = {"up": False, "leads": False, "errors": ["no answer"]}
NOSPACE = {"errors": ["memberID:1 alarm:NOSPACE "]}


@pytest.mark.parametrize(
    ("store", "state", "text", "hint"),
    [
        (etcd(), State.OK, "etcd, 3 of 3 members, leader etcd-0:2379, 1 MiB", ""),
        (etcd({}, DOWN), State.WARN, "1 of 3 members of etcd give no answer: etcd-1:2379", "nothing is written"),
        (etcd({}, DOWN, DOWN), State.FAIL, "2 of 3 members of etcd give no answer", "nothing is written"),
        (etcd(NOSPACE, NOSPACE), State.FAIL, "NOSPACE", "alarm disarm"),
        (etcd({}, {"errors": ["memberID:1 alarm:CORRUPT "]}), State.FAIL, "CORRUPT", "docs/backup.md"),
        (etcd({"errors": ["etcdserver: no leader"], "leads": False}), State.FAIL, "no leader", "log"),
        (etcd({"leads": False}), State.WARN, "leads", "store.endpoints"),
        (etcd({"size": 1700 * MIB}), State.WARN, "1700 MiB", "quota"),
        (etcd({"version": "3.5.1"}, {"version": "3.5.1"}, {"version": "3.5.1"}), State.WARN, "3.5.1", "upgrade"),
        (etcd({"version": "3.6.0"}), State.WARN, "3.5.21, 3.6.0", "end the upgrade"),
        (sqlite(ROOMY), State.OK, "sqlite, 3 MiB", ""),
        (sqlite(500 * MIB), State.WARN, "500 MiB left", "make room"),
        (sqlite(10 * MIB), State.FAIL, "10 MiB left", "make room"),
        (overview_pb2.Store(), State.OK, "not examined yet", ""),
    ],
)  # fmt: skip
def test_a_store_that_is_not_well_says_so(store, state, text, hint) -> None:
    (line,) = store_checks.lines(store)
    assert (line.state, line.about) == (state, "store")
    assert text in line.text
    assert hint in line.hint
    assert bool(line.hint) is (state is not State.OK)


def test_alarms_are_in_the_one_line_of_status() -> None:
    assert status.store(etcd(NOSPACE, NOSPACE)).endswith("1 MiB; memberID:1 alarm:NOSPACE ")
