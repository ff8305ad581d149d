"""Whole processes that are killed, starved and left alone. A mutant here is a process of its own: see `mutant`."""

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import clients
import mesh as small
from attacks import mutants
from attacks.control import Control
from attacks.ingress_rules import ignore_time
from mesh import CALLEE, TREATMENT, ask, caller

from agent.envoy import dataplane
from agent.evidence.keeper import Keeper
from certs import keys
from controlplane.cli.client import EXITS
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh, Process
from controlplane.cli.errors import CliError, Exit
from controlplane.services.identity.issuance import Issuance
from controlplane.services.identity.nodes import Nodes
from controlplane.store.sqlite import SqliteStore

MUTANT = Path(__file__).with_name("mutant.py")
LEASE_S = 3
END_S = 20
REQUESTS = 400


class Whole:
    """Makes what an attack needs, in a directory of its own; `off` is the name of the control that is switched off."""

    def __init__(self, directory: Path, off: str = "") -> None:
        self.directory, self.off, self._count = directory, off, 0

    def through(self, attack: Callable[["Whole"], bool]) -> bool:
        return attack(self)

    def place(self) -> Path:
        self._count += 1
        made = self.directory / f"{'mutant' if self.off else 'real'}-{self._count}"
        made.mkdir()
        return made

    def mutate(self, process: Process) -> None:
        """Start it as a mutant from now on, if there is one."""
        if self.off:
            python, _, module, *rest = process.command
            process.command = [python, str(MUTANT), self.off, module, *rest]

    def control_plane(self) -> Mesh:
        made = Mesh(self.place(), lease_s=60, heartbeat_s=1.0)
        made.init()
        self.mutate(made.control_plane)
        made.start_control_plane()
        made.site("paris", "FR")
        return made


# --- nobody comes -----------------------------------------------------------------------------------------------------


def agent_killed(whole: Whole) -> bool:
    """The agent is gone, and with it everybody who could tell Envoy that it may act no longer."""
    made = small.start(
        whole.place(), lease_max_s=LEASE_S, before=lambda mesh: whole.mutate(caller(mesh).agent)
    )
    try:
        caller(made).agent.kill()
        until = time.monotonic() + LEASE_S + 2  # a lease, and the second in which it is rounded
        assert ask(made) == "allowed"
        while time.monotonic() < until:
            time.sleep(until - time.monotonic())
        return ask(made) == "allowed"
    finally:
        made.stop()


# --- a full device ----------------------------------------------------------------------------------------------------


def full_device(whole: Whole) -> bool:
    """The callee's evidence is on a device of 96 KiB. Do requests go on when it is full?"""

    def before(mesh: Mesh) -> None:
        evidence = mesh.nodes[CALLEE].evidence
        evidence.mkdir(mode=0o700)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", evidence], check=True)
        whole.mutate(mesh.nodes[CALLEE].agent)

    made = small.start(whole.place(), before=before)
    try:
        return all(outcome != "unevaluable" for outcome in _requests(made))
    finally:
        made.stop()
        subprocess.run(["umount", "-l", made.nodes[CALLEE].evidence], check=True)


def _requests(mesh: Mesh) -> Iterator[str]:
    """Their denial codes, on a connection that is kept."""
    connection = calls.Idle(caller(mesh), CALLEE, TREATMENT)
    try:
        for _ in range(REQUESTS):
            yield connection.ask().code
    finally:
        connection.close()


# --- crashes of the control plane -------------------------------------------------------------------------------------


def crash_at(failpoint: str) -> Callable[[Whole], bool]:
    """Killed while it enrols a node: nothing that was signed is unknown, and the retry gets that very certificate."""

    def attack(whole: Whole) -> bool:
        with whole.control_plane() as mesh:
            text = clients.token(mesh, "crash")
            _, ca = clients.root_and_ca(mesh, text, mesh.directory / "token")
            key = keys.generate_p256()
            _die_at(mesh, failpoint, lambda: clients.ask(clients.enrolment(mesh, ca), text, key))
            stored = asyncio.run(_certificates(mesh))
            mesh.start_control_plane()
            stub = clients.enrolment(mesh, ca)
            first, second = clients.ask(stub, text, key), clients.ask(stub, text, key)
            honest = first.chain == second.chain and mesh.find("crash.paris").epoch == 1
            return stored != 1 or not honest

    return attack


def crash_while_revoking(whole: Whole) -> bool:
    """Killed between the decision and its publication: is the node revoked when the control plane is back?"""
    with whole.control_plane() as mesh:
        _, ca = clients.root_and_ca(mesh, clients.token(mesh, "probe"), mesh.directory / "token")
        clients.enrolled(mesh, clients.enrolment(mesh, ca), "gone")
        _die_at(mesh, "node.stored", lambda: mesh.revoke("gone.paris"))
        mesh.start_control_plane()
        return bool(mesh.find("gone.paris").state != "revoked")


def _die_at(mesh: Mesh, failpoint: str, call: Callable[[], object]) -> None:
    """Restart with a failpoint, call, and wait until the process has died of it."""
    mesh.control_plane.kill()
    mesh.control_plane.environment["WRIT_FAILPOINT"] = failpoint
    mesh.start_control_plane()
    assert _answer(call) == Exit.UNREACHABLE
    assert mesh.control_plane.child is not None
    assert mesh.control_plane.child.wait(END_S) == -signal.SIGKILL
    del mesh.control_plane.environment["WRIT_FAILPOINT"]


def _answer(call: Callable[[], object]) -> object:
    """The status of a call, as the operator's client names it."""
    try:
        return EXITS[call()]
    except CliError as exc:
        return exc.code


async def _certificates(mesh: Mesh) -> int:
    """How many certificates the store knows of."""
    store = SqliteStore.open(mesh.directory / "controlplane" / "writ.db")
    try:
        items, _ = await store.list("certificate/")
    finally:
        await store.close()
    return len(items)


CONTROLS = (
    Control(
        12,
        "lease: Envoy denies when nobody comes",
        [("the agent killed", agent_killed)],
        mutants.both(ignore_time, mutants.code(dataplane, "_entry", "ttl_s)", "0)")),
    ),
    Control(
        11,
        "device: a node that cannot write denies",
        [("a log on a full device", full_device)],
        mutants.code(Keeper, "_fail", "self.healthy = False", "pass"),
    ),
    Control(
        10,
        "crash: what was signed was stored",
        [
            ("killed when stored, not yet signed", crash_at("issue.stored")),
            ("killed when signed, not yet answered", crash_at("issue.signed")),
        ],
        mutants.code(
            Issuance,
            "grant",
            "await self._store_prepared(wanted, prepared)",
            "self._sign(prepared.tbs, ours)\n    failpoints.reach('issue.signed')\n"
            "    await self._store_prepared(wanted, prepared)",
        ),
    ),
    Control(
        12,
        "crash: what was decided holds",
        [("killed before the revocation was published", crash_while_revoking)],
        mutants.code(
            Nodes,
            "change",
            "generation = await self._write(stored, after)",
            "failpoints.reach('node.stored')",
        ),
    ),
)
