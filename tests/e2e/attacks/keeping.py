"""Evidence while it is written: devices that are full, agents and Envoys that die, journals that were torn. Invariant 11."""

import asyncio
import contextlib
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from attacks import mutants
from attacks.control import Control
from evidence import KEY, LOG, ME, decision, grow, opened

from agent.evidence import keeper, tail
from agent.evidence.errors import RollbackError
from agent.evidence.keeper import Keeper, Owner
from agent.evidence.tail import Tail
from audit import tiles, verify
from audit.growing import GrowingLog
from audit.record import dump
from audit.verify import Problem
from controlplane.cli.evidence import reader

DEVICE = "64k"
LINE = {"0id": "a", "0ms": 1, "0t": "1.0", "1k": "end", "code": 200, "dir": "in", "rbac": "allow/p@1/1"}
"""As Envoy writes it: sorted, what varies first."""


class Place:
    """A directory of its own for each attack."""

    def through(self, attack: Callable[[Path], bool]) -> bool:
        with tempfile.TemporaryDirectory(prefix="writ-evidence-") as place:
            return attack(Path(place))


def kept(directory: Path) -> Keeper:
    async def nobody(*_: object) -> str:
        raise ConnectionError

    owner = Owner(
        node=ME,
        directory=directory,
        key=LOG,
        sign=KEY.sign,
        cosign=nobody,
        opened=lambda _: None,
        health_changed=lambda: None,
    )
    made = Keeper(owner)
    made.begin("b", "1")
    return made


def problems(directory: Path) -> set[Problem]:
    return {finding.problem for finding in verify.verify_log(reader(directory), LOG, None).findings}


def text(line: dict) -> str:
    return json.dumps(line, separators=(",", ":")) + "\n"


def written(path: Path, *lines: dict) -> Tail:
    path.write_text("".join(map(text, lines)))
    return Tail(path)


def unsaid(made: Keeper, directory: Path) -> bool:
    """Does the log verify, as if nothing had been lost?"""
    made._log.checkpoint()
    made._log.close()
    return Problem.GAP not in problems(directory / "log")


# --- Envoy ------------------------------------------------------------------------------------------------------------


def envoy_killed(directory: Path) -> bool:
    """With a stream open: its record was never written."""
    made = kept(directory / "log")
    log = written(directory / "access.log", LINE, {**LINE, "1k": "open", "0id": "b"})
    made.end("b", log, "Envoy ended")
    return unsaid(made, directory)


def access_log_spoiled(directory: Path) -> bool:
    """Lines that cannot be read stand for requests that happened."""
    made = kept(directory / "log")
    path = directory / "access.log"
    path.write_text(text(LINE) + "{\x00\n" + text(LINE))
    asyncio.run(followed(made, Tail(path), 2))
    return unsaid(made, directory)


def access_log_cut(directory: Path) -> bool:
    """Somebody empties the file that Envoy writes."""
    made = kept(directory / "log")
    path = directory / "access.log"
    log = written(path, *[LINE] * 5)
    made._take(log.read())
    path.write_text(text(LINE))
    asyncio.run(followed(made, log, 6))
    return unsaid(made, directory)


async def followed(made: Keeper, log: Tail, records: int) -> None:
    """Until so many decisions are in the log, and what came with them was looked at."""
    following = asyncio.ensure_future(made.follow(log))
    async with asyncio.timeout(10):
        while made._seq["b"] < records:
            await asyncio.sleep(0)
    await asyncio.sleep(tail.POLL_S)
    following.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await following
    log.close()


# --- the device -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def device(at: Path) -> Iterator[Path]:
    """A real file system of 64 KiB."""
    at.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DEVICE}", "tmpfs", at], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small device needs CAP_SYS_ADMIN")
    try:
        yield at
    finally:
        subprocess.run(["umount", "-l", at], check=True)


def fill(made: Keeper) -> None:
    """Requests go on until the device is full, and then some."""
    for number in range(40):
        made._take([text({**LINE, "0id": str(number)}).encode().strip()] * 20)


def full_device(directory: Path) -> bool:
    """Does the gate go on letting requests pass, while no record of them can be written?"""
    with device(directory / "device") as small:
        made = kept(small / "log")
        fill(made)
        made._log.close()
        return made.healthy


def full_at_the_checkpoint(directory: Path) -> bool:
    with device(directory / "device") as small:
        made = kept(small / "log")
        (small / "ballast").write_bytes(b"x" * 40_000)
        made._take([text(LINE).encode().strip()] * 20)
        with contextlib.suppress(OSError), (small / "more").open("wb", buffering=0) as file:
            while file.write(b"y" * 4096):
                pass
        asyncio.run(checkpointed(made))
        made._log.close()
        return made.healthy


async def checkpointed(made: Keeper) -> None:
    making = asyncio.ensure_future(made.checkpoints())
    async with asyncio.timeout(10):
        while made._dirty.is_set() and made.healthy:
            await asyncio.sleep(0)
    making.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await making


def mended_in_silence(directory: Path) -> bool:
    """There is room again: is what was lost meanwhile said?"""
    with device(directory / "device") as small, pytest.MonkeyPatch.context() as patch:
        patch.setattr(keeper, "RETRY_S", 0)
        made = kept(small / "log")
        (small / "ballast").write_bytes(b"x" * 30_000)
        fill(made)
        (small / "ballast").unlink()
        asyncio.run(mended(made))
        made._take([text(LINE).encode().strip()])
        shutil.copytree(small / "log", directory / "log")
        made._log.close()
        made._log = opened(directory / "log")
        return unsaid(made, directory)


async def mended(made: Keeper) -> None:
    mending = asyncio.ensure_future(made.mend())
    async with asyncio.timeout(10):
        while not made.healthy:
            await asyncio.sleep(0)
    mending.cancel()


# --- the journal ------------------------------------------------------------------------------------------------------


def torn(cut: int) -> Callable[[Path], bool]:
    """The machine stopped in the middle of an entry: what is written behind it must be found again."""

    def attack(directory: Path) -> bool:
        log = opened(directory)
        grow(log, 1, 3)
        log.close()
        with (directory / "journal.0").open("ab") as journal:
            journal.write(tiles.bundle([dump(decision(4))])[:cut])
        again = opened(directory)
        grow(again, 4, 5)
        again.close()
        whole = opened(directory)
        whole.close()
        return whole.size != 5

    return attack


def shortened(change: Callable[[Path], None]) -> Callable[[Path], bool]:
    """A log that holds less than its own checkpoint says: may it go on under its name?"""

    def attack(directory: Path) -> bool:
        log = opened(directory)
        grow(log, 1, 300)
        log.checkpoint()
        log.close()
        change(directory)
        try:
            opened(directory).close()
        except RollbackError:
            return False
        return True

    return attack


def restore_an_older(directory: Path) -> None:
    """A backup from when the log was shorter, beside the checkpoint of now."""
    checkpoint = (directory / "checkpoint").read_bytes()
    shutil.rmtree(directory)
    log = opened(directory)
    grow(log, 1, 100)
    log.close()
    (directory / "checkpoint").write_bytes(checkpoint)


CONTROLS = (
    Control(
        11,
        "gap: the end of an Envoy is said",
        [("Envoy killed with records in flight", envoy_killed)],
        mutants.code(Keeper, "end", "self._note([gap])", "pass"),
    ),
    Control(
        11,
        "gap: what could not be read is said",
        [
            ("a line that is no record", access_log_spoiled),
            ("an access log that was emptied", access_log_cut),
        ],
        mutants.code(Keeper, "follow", "if unread:", "if False:"),
    ),
    Control(
        11,
        "device: full, and the gate denies",
        [("a log on a full device", full_device), ("a checkpoint on a full device", full_at_the_checkpoint)],
        mutants.code(Keeper, "_fail", "self.healthy = False", "pass"),
    ),
    Control(
        11,
        "device: what was lost meanwhile is said",
        [("a device that has room again", mended_in_silence)],
        mutants.code(Keeper, "mend", "self._log.append([record.dump(gap)])", "pass"),
    ),
    Control(
        11,
        "journal: a torn tail is cut",
        [(f"torn after {cut} bytes", torn(cut)) for cut in (1, 2, 3, 40)],
        mutants.code(GrowingLog, "_replay", "if whole < len(data):", "if False:"),
    ),
    Control(
        11,
        "journal: never shorter than its checkpoint",
        [
            ("an emptied journal", shortened(lambda d: (d / "journal.1").write_bytes(b""))),
            (
                "a journal cut in half",
                shortened(lambda d: (d / "journal.1").write_bytes((d / "journal.1").read_bytes()[:2000])),
            ),
            ("a bundle removed", shortened(lambda d: (d / tiles.entries_path(0)).unlink())),
            ("an older log", shortened(restore_an_older)),
        ],
        mutants.code(GrowingLog, "_recover", "if head is None:", "if True:"),
    ),
)
