"""What operators did here: the evidence log of this control plane, which each replica keeps for itself.

1. A record is on the device before the answer that it is about leaves. What changes something is begun in the log before it
   is done; both wait for one sync, so that a revocation waits for none before it is pushed.
2. While the log cannot be written, or does not open, calls of operators are refused. Nodes are served as before. Room for the
   outcomes of what was begun is reserved, so that a device that fills in between does not swallow them.
3. Strangers cannot fill the device: beyond `STRANGERS` refusals a minute they are counted, and the count is recorded.
4. Whether it can be written is tried again and again, so that somebody hears of it before an operator is refused.
A checkpoint is signed at most once a second, and cosigned by the witness once the store has it: a log that was cut or
rewritten is not cosigned any more.
"""

import asyncio
import contextlib
import dataclasses
import re
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog

from audit import note, record
from audit.errors import AuditError
from audit.growing import GrowingLog, Snapshot
from audit.record import AdminRecord
from controlplane.api.logfiles import LogFiles
from controlplane.errors import ControlPlaneError, InvalidError, PreconditionError, UnavailableError
from controlplane.services.evidence.witness import Witness

log = structlog.get_logger()
T = TypeVar("T")
STRANGERS = 60  # refusals of nobody we know that are written one by one, a minute
CHECKPOINT_S, PROBE_S = 1.0, 5.0
GROUP = 256
RESERVE_BYTES = 128 << 10
MAX_TEXT = 500
TEXTS = ("operator", "role", "credential", "target", "arguments", "reason", "approval")
FILE = re.compile(
    r"checkpoint(\.cosigned)?|tile/(entries|[0-9]{1,2})(/x[0-9]{3}){0,3}/[0-9]{3}(\.p/[1-9][0-9]{0,2})?"
)


@dataclasses.dataclass(slots=True)
class _Waiting:
    """A record that is to be written. `lasting`: on the device before its caller goes on; `final`: of what was begun."""

    record: AdminRecord
    lasting: bool
    final: bool
    done: "asyncio.Future[None]"


class Recording:
    """One per process. What is appended is written by one thread of its own; a checkpoint's files are written beside it."""

    def __init__(
        self,
        directory: Path,
        key: note.VerifierKey,
        sign: note.Sign,
        witness: Witness,
        spiffe_id: str,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.key, self._sign, self._witness = key, sign, witness
        self._directory, self._spiffe_id, self._clock = directory, spiffe_id, clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="evidence")
        self._files: LogFiles | None = None
        self._log: GrowingLog | None = None
        self._boot, self._seq = "", 0
        self._starved = True  # nothing is reserved yet
        self._waiting: list[_Waiting] = []
        self._writing: asyncio.Task[None] | None = None
        self._dirty = asyncio.Event()
        self._strangers = (0, 0)  # the minute, and how many in it
        self._suppressed, self._cosigned = 0, 0
        self.writable = True
        """As it was tried last, not long ago."""

    async def keep(
        self,
        *,
        call_id: str,
        call: str,
        outcome: str,
        lasting: bool = True,
        final: bool = False,
        **facts: str,
    ) -> None:
        """Write one record; UnavailableError when it cannot be. `final`: the outcome of what was begun."""
        given = {name: _plain(value) for name, value in {**dict.fromkeys(TEXTS, ""), **facts}.items()}
        suppressed, self._suppressed = self._suppressed, 0
        made = AdminRecord(
            node=self._spiffe_id,
            boot="",
            seq=0,
            time_ms=int(self._clock() * 1000),
            call_id=call_id,
            call=_plain(call),
            outcome=outcome,
            suppressed=suppressed,
            **given,
        )
        waiting = _Waiting(made, lasting, final, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._drain())
        try:
            await asyncio.shield(waiting.done)
        except ControlPlaneError:
            self._suppressed += suppressed
            raise

    async def read(self, path: str) -> bytes | None:
        """A file of the log, as its readers know it; nothing else of this machine (`FILE`)."""
        if not FILE.fullmatch(path):
            raise InvalidError(f"`{path[:64]}` is no file of a log")
        return await asyncio.to_thread(LogFiles(self._directory).read, path)

    def counts_stranger(self) -> bool:
        """Is one more refusal of a stranger only to be counted?"""
        minute = int(self._clock()) // 60
        known, count = self._strangers
        count = count + 1 if known == minute else 1
        self._strangers = (minute, count)
        if count > STRANGERS:
            self._suppressed += 1
            self._dirty.set()
        return count > STRANGERS

    async def run(self) -> None:
        """Checkpoints, and their cosignatures, until cancelled. The first covers what an unclean end left unsigned."""
        self._dirty.set()
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_S):
                        await self._dirty.wait()
                if self._dirty.is_set():
                    self._dirty.clear()
                    await self._checkpoint()
                await self._probe()
                await asyncio.sleep(CHECKPOINT_S)
        finally:
            await self._checkpoint()

    async def close(self) -> None:
        """What was begun is written first."""
        if self._writing is not None:
            await self._writing
        await asyncio.to_thread(self._thread.shutdown)
        if self._files is not None:
            self._files.close()

    # --- inside --------------------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            group, self._waiting = self._waiting[:GROUP], self._waiting[GROUP:]
            try:
                failed = await loop.run_in_executor(self._thread, self._write, group)
            except Exception as exc:  # noqa: BLE001 - whatever it is, no caller may wait for ever
                failed = dict.fromkeys(range(len(group)), exc)
            for number, one in enumerate(group):
                if number in failed:
                    one.done.set_exception(failed[number])
                    one.done.exception()  # its caller may have left: nobody else is to be told
                else:
                    one.done.set_result(None)
            self._dirty.set()

    def _write(self, group: list[_Waiting]) -> dict[int, Exception]:
        """One sync for all. What failed, by its place."""
        failed: dict[int, Exception] = {}
        for number, one in enumerate(group):
            try:
                self._append(one)
            except UnavailableError as exc:
                failed[number] = exc
        try:
            if self._log is not None and any(one.lasting for one in group):
                self._log.sync()
        except OSError as exc:
            return dict.fromkeys(range(len(group)), self._broken(exc))
        return failed

    def _append(self, one: _Waiting) -> None:
        try:
            try:
                self._append_to(self._opened(final=one.final), one.record)
            except OSError as exc:
                if not one.final or self._starved:
                    raise
                self._broken(exc)
                LogFiles(self._directory).release()
                self._starved = True
                self._append_to(self._opened(final=True), one.record)
        except (OSError, AuditError) as exc:
            raise self._broken(exc) from exc

    def _append_to(self, opened: GrowingLog, made: AdminRecord) -> None:
        opened.append([record.dump(dataclasses.replace(made, boot=self._boot, seq=self._seq + 1))])
        self._seq += 1

    def _opened(self, *, final: bool = False) -> GrowingLog:
        """The log; after a failure it is opened anew, as a new run, because what was being written is not known."""
        if self._log is None or self._files is None:
            self._files = LogFiles(self._directory)
            self._log = GrowingLog(self._files, self.key, self._sign)
            self._boot, self._seq = secrets.token_hex(8), 0
        if self._starved and not final:
            self._files.reserve(RESERVE_BYTES)  # what is begun is begun only if its outcome will have room
            self._starved = False
        return self._log

    def _broken(self, exc: Exception) -> UnavailableError:
        if self._files is not None:
            self._files.close()
        self._files = self._log = None
        self.writable = False
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        log.error("evidence_unwritable", reason=reason)
        hint = f"what happens is recorded in `{self._directory}`, or does not happen"
        return UnavailableError(f"the evidence log cannot be written: {reason}", hint=hint)

    async def _probe(self) -> None:
        """A log that was closed by a failure is opened again; one that is open is not closed because the device is full."""
        try:
            await self._on_thread(self._opened)
            await asyncio.to_thread(LogFiles(self._directory).probe)
        except (ControlPlaneError, OSError) as exc:
            log.warning("evidence_unwritable", reason=str(exc))
            self.writable = False
        else:
            self.writable = True

    async def _checkpoint(self) -> None:
        """Files are written beside the thread that appends: a revocation must not wait for them."""
        try:
            if self._suppressed:
                await self.keep(call_id="", call="", outcome="suppressed", lasting=False)
            opened = await self._on_thread(lambda: self._opened(final=True))
            made = await self._on_thread(opened.snapshot)
            await self._beside(lambda: opened.keep(made))
            await self._cosign(opened, made)
        except ControlPlaneError as exc:
            log.warning("evidence_not_cosigned", reason=str(exc))

    async def _cosign(self, opened: GrowingLog, made: Snapshot) -> None:
        size = made.head.size
        for _ in range(2):
            before = self._cosigned
            if before > size:
                log.error("evidence_rolled_back", ours=size, cosigned=before)
                return
            proof = await self._on_thread(lambda: opened.consistency(before, size))  # noqa: B023 - awaited in this turn
            try:
                line = await self._witness.cosign_own(self.key, before, proof, made.text)
            except PreconditionError as exc:
                self._cosigned = int(exc.hint) if exc.hint.isdigit() else 0
                continue
            self._cosigned = size
            await self._beside(lambda: opened.keep_cosigned(made.text + line))  # noqa: B023
            return

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._checked, work)

    async def _beside(self, work: Callable[[], None]) -> None:
        """On another thread. What fails there is noted on ours: it must not close a file under an append."""
        try:
            await asyncio.to_thread(work)
        except (OSError, AuditError) as exc:
            loop = asyncio.get_running_loop()
            raise await loop.run_in_executor(self._thread, self._broken, exc) from exc

    def _checked(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (OSError, AuditError) as exc:
            raise self._broken(exc) from exc


def _plain(text: str) -> str:
    """One line of printable ASCII: a record is read on terminals."""
    shown = text.encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in shown)[:MAX_TEXT]
