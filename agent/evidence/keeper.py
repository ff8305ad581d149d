"""Keeps the evidence of this node: access log -> records -> log -> checkpoint -> cosignature, and which streams are open.

One task. Records are appended in groups, a checkpoint is made at most once a second, and cosigned when the control plane
can be reached. While records cannot be written `healthy` is false, and the gate denies.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.evidence import lines
from agent.evidence.errors import EvidenceError, WriteError
from agent.evidence.lines import Consider, Entry, Line, OpenStream, Recorder
from agent.evidence.log import NodeLog
from agent.evidence.tail import Tail
from audit import note, record
from audit.errors import AuditError, NoteError
from audit.record import BootRecord, DecisionRecord, GapRecord
from audit.tally import Tallies

log = structlog.get_logger()
CHECKPOINT_S = 1.0
RETRY_S = 1.0
RECOSIGN_S = 2.0  # how soon a checkpoint that was not cosigned is offered again
MAX_OPEN = 100_000
Cosign = Callable[[int, list[bytes], str, Tallies], Awaitable[str]]
"""(old size, proof, checkpoint, tallies) -> one cosignature line; SizeError when the witness is elsewhere."""


class SizeError(Exception):
    """The witness has cosigned another size than we believed."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the witness is at {size}")
        self.size = size


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """Whose log it is, and who wants to know."""

    node: str  # SPIFFE ID
    directory: Path
    key: note.VerifierKey
    sign: note.Sign
    cosign: Cosign
    opened: Callable[[Line], None]
    health_changed: Callable[[], None]


class Keeper:
    """Owns the log and the set of open streams."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._log = NodeLog(owner.directory, owner.key, owner.sign)
        self._tallies = Tallies()
        self._seq: dict[str, int] = {}
        self._boot, self._recorder = "", Recorder(owner.node, "")
        self._consider: Consider | None = None
        self._cosigned = 0
        self._dirty = asyncio.Event()
        self.open: dict[tuple[str, str], Line] = {}
        self.records, self.gaps = 0, 0
        self.decisions: Counter[str] = Counter()  # by denial code; empty: allowed
        self.healthy = True
        for entry in self._log.entries():
            self._remember(entry)

    def _remember(self, entry: bytes) -> None:
        item = record.load(entry)
        if isinstance(item, DecisionRecord):
            self._seq[item.boot] = item.seq
        elif isinstance(item, BootRecord):
            self._seq.setdefault(item.boot, 0)

    # --- runs of Envoy -----------------------------------------------------------------------------------------

    def begin(self, boot: str, envoy: str) -> None:
        """A run of Envoy begins; a run that is already in the log goes on."""
        self._boot, self._recorder = boot, Recorder(self._owner.node, boot, self._consider)
        if boot not in self._seq:
            self._seq[boot] = 0
            self._note([BootRecord(node=self._owner.node, boot=boot, time_ms=_now_ms(), envoy=envoy)])

    def consider(self, consider: Consider | None) -> None:
        """Ask a shadow policy too from now on, or no more."""
        self._consider = consider
        self._recorder = Recorder(self._owner.node, self._boot, consider)

    def end(self, boot: str, tail: Tail, reason: str) -> None:
        """A run has ended without being asked to: what it had not written is lost, and said so."""
        self._take(tail.read())
        tail.close()
        left = len(self.open)
        self.open.clear()
        self.gaps += 1
        gap = self._gap(-1, reason, boot=boot, open_requests=left)
        self._note([gap])

    async def follow(self, tail: Tail) -> None:
        """Take lines for ever. A restarted agent skips what is in the log: lines of a run are counted."""
        bad = tail.bad
        async for batch in tail.batches():
            unread = self._take(batch) + tail.bad - bad
            if unread:
                self._note([self._gap(unread, "lines of the access log could not be read")])
                self.gaps, bad = self.gaps + 1, tail.bad

    def skip(self, tail: Tail, boot: str) -> None:
        """Pass over the ended streams of a run that are already recorded; its open ones are open again."""
        due = self._seq.get(boot, 0)
        while due and (batch := tail.read()):
            ended = 0
            for index, text in enumerate(batch):
                with contextlib.suppress(ValueError):
                    ended += self._seen(text)
                if ended == due:
                    self._take(batch[index + 1 :])
                    return
            due -= ended

    def _gap(self, lost: int, reason: str, *, boot: str = "", open_requests: int | None = None) -> GapRecord:
        """What is missing of a run, the newest if none is named."""
        boot = boot or next(reversed(self._seq), "")
        return GapRecord(
            node=self._owner.node,
            boot=boot,
            time_ms=_now_ms(),
            after_seq=self._seq.get(boot, 0),
            lost=lost,
            open_requests=len(self.open) if open_requests is None else open_requests,
            reason=reason,
        )

    def _seen(self, text: bytes) -> bool:
        """Follow what is open without recording; whether the line ends a stream. ValueError for no line."""
        line = lines.decode(text)
        if line.k == "open":
            self._begun(line, judge=False)
            return False
        self.open.pop((line.id, line.dir), None)
        return True

    def _take(self, batch: Iterable[bytes]) -> int:
        """Record the streams that ended, follow those that are open; how many lines could not be read."""
        entries: list[Entry] = []
        seq, unread = self._seq.get(self._boot, 0), 0
        for text in batch:
            try:
                if not lines.ended(text):
                    self._begun(lines.decode(text), judge=True)
                    continue
                entry = self._recorder.entry(text, seq + 1)
            except ValueError:  # also what msgspec raises
                unread += 1
                continue
            seq += 1
            entries.append(entry)
            if self.open:
                self.open.pop((entry.request_id.decode(), entry.direction), None)
        if entries:
            self._seq[self._boot] = seq
            self._keep(entries)
        return unread

    def _begun(self, line: Line, *, judge: bool) -> None:
        if len(self.open) < MAX_OPEN:
            self.open[line.id, line.dir] = line
            if judge:
                self._owner.opened(line)

    def streams(self) -> list[OpenStream]:
        """The open streams, as far as they were read: made when asked for, because most end before anybody asks."""
        return [lines.open_stream(line) for line in self.open.values()]

    # --- the log -----------------------------------------------------------------------------------------------

    def _keep(self, entries: list[Entry]) -> None:
        """Decisions: into the log, and counted."""
        self.decisions.update([entry.code for entry in entries])
        if not self._append([entry.data for entry in entries]):
            return
        reached: dict[tuple[str, str, int], list[bytes]] = {}
        for entry in entries:
            if entry.reached:
                reached.setdefault((entry.peer, entry.direction, entry.minute), []).append(entry.request_id)
        for key, request_ids in reached.items():
            self._tallies.count(key, request_ids)

    def _note(self, records: list[record.Record]) -> None:
        """What is not a decision: runs and gaps."""
        self._append([record.dump(item) for item in records])

    def _append(self, entries: list[bytes]) -> bool:
        if not self.healthy:
            return False  # lost, and covered by the gap record with which the log goes on
        try:
            self._log.append(entries)
        except WriteError as exc:
            self._fail(str(exc))
            return False
        self.records += len(entries)
        self._dirty.set()
        return True

    def _fail(self, reason: str) -> None:
        """Records are lost from here on until the device takes them again. Deny meanwhile."""
        if self.healthy:
            log.error("evidence_unwritable", reason=reason)
            self.healthy = False
            self._owner.health_changed()

    async def mend(self) -> None:
        """While unhealthy, try a new log object on the same files; a gap record opens it."""
        while True:
            await asyncio.sleep(RETRY_S)
            if self.healthy:
                continue
            try:
                self._log.close()
                self._log = NodeLog(self._owner.directory, self._owner.key, self._owner.sign)
                gap = self._gap(-1, "records could not be written")
                self._log.append([record.dump(gap)])
            except (EvidenceError, OSError, AuditError) as exc:
                log.warning("evidence_still_unwritable", reason=str(exc))
                continue
            self.gaps += 1
            self.healthy = True
            self._dirty.set()
            self._owner.health_changed()

    async def checkpoints(self) -> None:
        """Sign a checkpoint when there is something new, and have it witnessed."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                head, text = self._log.checkpoint()
            except WriteError as exc:
                self._fail(str(exc))
                continue
            await self._witness(head, text)
            await asyncio.sleep(CHECKPOINT_S)

    async def _witness(self, head: note.Checkpoint, text: str) -> None:
        try:
            proof = self._log.consistency(self._cosigned, head.size)
            line = await self._owner.cosign(self._cosigned, proof, text, self._tallies)
        except SizeError as exc:
            if exc.size > head.size:
                log.warning("witness_is_ahead", ours=head.size, witness=exc.size)
                return
            self._cosigned = exc.size
            self._dirty.set()
        except Exception as exc:  # noqa: BLE001 - the control plane may be away in many ways; we try again
            log.debug("not_cosigned", reason=str(exc))
            asyncio.get_running_loop().call_later(RECOSIGN_S, self._dirty.set)
        else:
            self._cosigned = head.size
            self._keep_cosigned(text + line)

    def _keep_cosigned(self, text: str) -> None:
        try:
            note.split(text)
            self._log.keep_cosigned(text)
        except (NoteError, WriteError) as exc:
            log.warning("cosignature_not_kept", reason=str(exc))


def _now_ms() -> int:
    return int(time.time() * 1000)
