"""What `writ check` and `writ status` say of the control plane's store. Pure.

etcd fails when it can write no more (no majority, no leader, an alarm), and warns while a member is away or space runs out.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from controlplane.cli import status
from controlplane.cli.checks import Line, State

if TYPE_CHECKING:
    from controlplane.api.gen import overview_pb2

MIB = 1 << 20
ROOM_WARN, ROOM_FAIL = 1024 * MIB, 64 * MIB
SIZE_WARN = 1600 * MIB  # of 2 GiB, the quota unless it was set
ABOUT = "store"
ALARM_HINT = "compact and defragment etcd, raise its quota, then `etcdctl alarm disarm`"
CORRUPT_HINT = "a member differs from the others: replace it, or restore a backup: docs/backup.md"
INCONSISTENT = ("3.5.0", "3.5.1", "3.5.2")


def lines(store: "overview_pb2.Store") -> list[Line]:
    """One line, or one for each thing that is not well."""
    found = list(_etcd(store) if store.kind == "etcd" else _embedded(store))
    return found or [Line(about=ABOUT, state=State.OK, text=status.store(store))]


def _etcd(store: "overview_pb2.Store") -> Iterator[Line]:
    down = [one for one in store.members if not one.up]
    if down:
        majority = len(store.members) - len(down) > len(store.members) // 2
        names = ", ".join(one.name for one in down)
        text = f"{len(down)} of {len(store.members)} members of etcd give no answer: {names}"
        hint = (
            "start them; another one down, and nothing is written"
            if majority
            else "start them: nothing is written"
        )
        yield Line(about=ABOUT, state=State.WARN if majority else State.FAIL, text=text, hint=hint)
    errors = sorted({error for one in store.members if one.up for error in one.errors})
    for error in errors:
        hint = (
            ALARM_HINT if "NOSPACE" in error else CORRUPT_HINT if "CORRUPT" in error else "look at etcd's log"
        )
        yield Line(about=ABOUT, state=State.FAIL, text=f"etcd says: {error}", hint=hint)
    # A leader may be a member that store.endpoints does not name.
    if not any(one.leads for one in store.members) and not down and not errors and len(store.members) > 1:
        yield Line(
            about=ABOUT,
            state=State.WARN,
            text="no member of etcd that we know leads",
            hint="look again in some seconds; store.endpoints should name every member",
        )
    yield from _numbers(store)


def _numbers(store: "overview_pb2.Store") -> Iterator[Line]:
    large = [one for one in store.members if one.size > SIZE_WARN]
    if large:
        yield Line(
            about=ABOUT,
            state=State.WARN,
            text=f"etcd holds {large[0].size // MIB} MiB",
            hint="defragment it, and see that its quota (2 GiB unless set) is larger",
        )
    versions = sorted({one.version for one in store.members if one.up})
    if any(version in INCONSISTENT for version in versions):
        yield Line(
            about=ABOUT,
            state=State.WARN,
            text=f"etcd {versions[0]} can lose writes when it is killed",
            hint="upgrade it to 3.5.3 or later",
        )
    if len(versions) > 1:
        text = f"members of etcd are of versions {', '.join(versions)}"
        yield Line(about=ABOUT, state=State.WARN, text=text, hint="end the upgrade")


def _embedded(store: "overview_pb2.Store") -> Iterator[Line]:
    if 0 <= store.room < ROOM_WARN and store.kind:
        state = State.FAIL if store.room < ROOM_FAIL else State.WARN
        text = f"{store.room // MIB} MiB left on the device of the store"
        yield Line(
            about=ABOUT, state=state, text=text, hint="make room: without it nothing is issued or revoked"
        )
