"""Verify evidence offline: from a log's files and public keys alone, name what is wrong, and where.

For each log: 1. its checkpoint is signed by the log and cosigned by the witness; 2. every stored entry hashes to the
leaf in its tile; 3. the tiles lead to the checkpoint's root; 4. every entry is a record of this node; 5. the records of
each run count without a hole, or a gap record says so. For several logs: 6. what one end recorded as sent, the other
recorded as received, and both agree on the outcome.
Left to the caller: where the keys come from. Whoever holds only a log's own key proves only that log's word.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from audit import merkle, note, record, tiles
from audit.errors import AuditError, NoteError, RecordError
from audit.record import AdminRecord, BootRecord, DecisionRecord, GapRecord, Record


class Problem(Enum):
    """What kind of thing is wrong."""

    NO_CHECKPOINT = "no checkpoint"
    BAD_SIGNATURE = "bad signature"
    NOT_WITNESSED = "not witnessed"
    TRUNCATED = "truncated"
    FORK = "forked"
    ALTERED = "altered"
    MISSING = "missing"
    FOREIGN = "foreign"
    HOLE = "hole"
    GAP = "gap declared"
    UNPAIRED = "unpaired"
    DUPLICATE = "recorded twice"
    MISMATCH = "outcomes differ"


UNKNOWN = -1
FATAL = frozenset(Problem) - {Problem.GAP}
"""A declared gap is honest: it is shown, and fails only a strict verification."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong: in which log, at which entry (-1: the log as a whole)."""

    problem: Problem
    log: str
    index: int
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """One log: what was read and what was found."""

    origin: str
    size: int
    cosigned_at: int  # Unix seconds by the witness's clock, 0 if never
    records: tuple[Record, ...]
    findings: tuple[Finding, ...]


def verify_log(read: tiles.Read, log_key: note.VerifierKey, witness: note.VerifierKey | None) -> LogReport:
    """Check one log. `witness` None skips its cosignature: then nothing speaks against a rewritten past."""
    text = read(tiles.CHECKPOINT)
    name = log_key.name
    if text is None:
        return _failed(name, Problem.NO_CHECKPOINT, "there is no checkpoint")
    try:
        head, signers = note.open_checkpoint(text.decode("utf-8", "replace"), [log_key])
    except NoteError as exc:
        return _failed(name, Problem.BAD_SIGNATURE, str(exc))
    findings: list[Finding] = []
    if name not in signers or head.origin != name:
        findings.append(_finding(Problem.BAD_SIGNATURE, name, -1, "checkpoint is not signed by this log"))
    stored = list(_entries(read, head.size, name, findings))
    findings += _check_tree(read, head, name)
    records = [item for item in _records(stored, name, findings) if item is not None]
    findings += _check_runs(records, name)
    cosigned_at = _check_witnessed(read, head, log_key, witness, findings) if witness else 0
    return LogReport(
        origin=name, size=head.size, cosigned_at=cosigned_at, records=tuple(records), findings=tuple(findings)
    )


def _check_witnessed(
    read: tiles.Read,
    head: note.Checkpoint,
    log_key: note.VerifierKey,
    witness: note.VerifierKey,
    findings: list[Finding],
) -> int:
    """When the witness last cosigned this log; the log must extend what was cosigned."""
    text = (read(tiles.COSIGNED) or b"").decode("utf-8", "replace")
    try:
        known, signers = note.open_checkpoint(text, [log_key, witness])
    except NoteError:
        known, signers = head, {}
    if {log_key.name, witness.name} - set(signers) or known.origin != head.origin:
        findings.append(
            _finding(Problem.NOT_WITNESSED, head.origin, -1, "the witness has not cosigned this log")
        )
        return 0
    if known.size > head.size:
        lost = f"{known.size} entries were cosigned, {head.size} are left"
        findings.append(_finding(Problem.TRUNCATED, head.origin, head.size, lost))
        return signers[witness.name]
    try:
        same = merkle.tree_root(known.size, tiles.reader(read, head.size)) == known.root
    except AuditError:
        return signers[witness.name]  # what is missing was named already
    if not same:
        findings.append(_finding(Problem.FORK, head.origin, -1, "the log does not extend what was cosigned"))
    return signers[witness.name]


def reconcile(reports: Sequence[LogReport]) -> list[Finding]:
    """Hold the logs of both ends against each other, for the pairs of nodes whose logs are both here."""
    nodes = {item.node: report.origin for report in reports for item in report.records}
    sent = {
        r.request_id: r for r in _decisions(reports) if r.direction == "out" and r.allowed and r.peer in nodes
    }
    got = {r.request_id: r for r in _decisions(reports) if r.direction == "in" and r.peer in nodes}
    counts = Counter((item.node, item.request_id, item.direction) for item in _decisions(reports))
    findings = [
        _finding(Problem.DUPLICATE, nodes[node], -1, f"request {request_id} ({direction}): {count} records")
        for (node, request_id, direction), count in counts.items()
        if count > 1
    ]
    for request_id, caller in sent.items():
        callee = got.get(request_id)
        if callee is None:
            if not _never_arrived(caller):
                findings.append(_unpaired(nodes, caller, "the callee has no record of it"))
        elif (caller.node, caller.peer) != (callee.peer, callee.node):
            findings.append(_unpaired(nodes, caller, "the two ends name different peers", Problem.MISMATCH))
        elif caller.status != callee.status and not _unanswered(caller, callee):
            detail = f"caller saw {caller.status}, callee {callee.status}"
            findings.append(_unpaired(nodes, caller, detail, Problem.MISMATCH))
    for request_id, callee in got.items():
        if request_id not in sent:
            findings.append(_unpaired(nodes, callee, "the caller has no record of it"))
    return findings


def _never_arrived(caller: DecisionRecord) -> bool:
    """The caller's sidecar allowed it and could not reach the callee: there is nothing to pair."""
    return caller.status in {0, 503, 504} and not caller.peer_serial


def _unanswered(caller: DecisionRecord, callee: DecisionRecord) -> bool:
    """One end saw no answer. Denied and cut, the caller's sidecar answers in the callee's place: nothing was done, say both."""
    cut = not callee.allowed and caller.details.startswith("upstream_reset")
    return cut or 0 in {caller.status, callee.status}


def _unpaired(
    nodes: dict[str, str], item: DecisionRecord, detail: str, problem: Problem = Problem.UNPAIRED
) -> Finding:
    return _finding(problem, nodes[item.node], -1, f"request {item.request_id} ({item.direction}): {detail}")


def _decisions(reports: Iterable[LogReport]) -> Iterable[DecisionRecord]:
    return (item for report in reports for item in report.records if isinstance(item, DecisionRecord))


def _entries(read: tiles.Read, size: int, name: str, findings: list[Finding]) -> Iterable[tuple[int, bytes]]:
    """(index, entry) of what is stored, each held against its leaf hash; what is not is a finding."""
    for number in range((size + tiles.WIDTH - 1) // tiles.WIDTH):
        width = min(tiles.WIDTH, size - number * tiles.WIDTH)
        data, hashes = read(tiles.entries_path(number, width)), read(tiles.tile_path(0, number, width))
        first = number * tiles.WIDTH
        if data is None or hashes is None or len(hashes) != width * tiles.HASH_BYTES:
            findings.append(
                _finding(Problem.MISSING, name, first, f"entries {first} to {first + width - 1} are gone")
            )
            continue
        yield from _bundle(data, hashes, first, width, name, findings)


def _bundle(
    data: bytes, hashes: bytes, first: int, width: int, name: str, findings: list[Finding]
) -> Iterable[tuple[int, bytes]]:
    wanted = [hashes[i * 32 : i * 32 + 32] for i in range(width)]
    found: list[bytes] = []
    try:
        found.extend(tiles.entries(data))
    except RecordError as exc:
        findings.append(_finding(Problem.ALTERED, name, first, str(exc)))
    at = 0
    for entry in found:
        digest = merkle.leaf_hash(entry)
        if at < width and digest == wanted[at]:
            yield first + at, entry
            at += 1
        elif digest in wanted[at:]:
            until = wanted.index(digest, at)
            findings.append(_missing(name, first + at, first + until - 1))
            yield first + until, entry
            at = until + 1
        else:
            findings.append(
                _finding(Problem.ALTERED, name, first + at, "the entry is not the one that was logged")
            )
            at += 1
    if at < width:
        findings.append(_missing(name, first + at, first + width - 1))


def _missing(name: str, start: int, end: int) -> Finding:
    what = f"entry {start} is gone" if start == end else f"entries {start} to {end} are gone"
    return _finding(Problem.MISSING, name, start, what)


def _check_tree(read: tiles.Read, head: note.Checkpoint, name: str) -> list[Finding]:
    """The tiles lead to the signed root, and each upper tile to the one below it."""
    try:
        nodes = tiles.reader(read, head.size)
        if merkle.tree_root(head.size, nodes) != head.root:
            return [_finding(Problem.ALTERED, name, -1, "the tiles do not lead to the signed root")]
        for level, index, width in tiles.widths(head.size):
            data = read(tiles.tile_path(level, index, width)) or b""
            for i in range(width) if level else ():
                below = nodes(level * tiles.HEIGHT - 1, 2 * (index * tiles.WIDTH + i))
                beside = nodes(level * tiles.HEIGHT - 1, 2 * (index * tiles.WIDTH + i) + 1)
                if data[i * 32 : i * 32 + 32] != merkle.node_hash(below, beside):
                    return [
                        _finding(
                            Problem.ALTERED, name, -1, f"tile {level}/{index} does not follow from below"
                        )
                    ]
    except AuditError as exc:
        return [_finding(Problem.MISSING, name, -1, str(exc))]
    return []


def _records(
    stored: Iterable[tuple[int, bytes]], name: str, findings: list[Finding]
) -> Iterable[Record | None]:
    for index, entry in stored:
        try:
            item = record.load(entry)
            if not _of_this_log(item, name):
                raise RecordError(f"a record of `{item.node}`")
            yield item
        except RecordError as exc:
            findings.append(_finding(Problem.FOREIGN, name, index, str(exc)))


def _of_this_log(item: Record, origin: str) -> bool:
    """`<td>/audit/<site>/<node>` holds records of `spiffe://<td>/<jurisdiction>/<site>/<node>` only.

    A control plane, `spiffe://<td>/control-plane/<replica>`, records administration, and nothing else.
    """
    domain, _, place = origin.partition("/audit/")
    parts = item.node.removeprefix("spiffe://").split("/")
    if isinstance(item, AdminRecord):
        return parts == [domain, *place.split("/")] and parts[1:2] == ["control-plane"]
    return len(parts) == 4 and (parts[0], "/".join(parts[2:])) == (domain, place)  # noqa: PLR2004 - a node's SPIFFE ID


def _check_runs(records: Sequence[Record], name: str) -> list[Finding]:
    """Within one run of Envoy, records count 1, 2, 3, …; a gap record accounts for what is not there."""
    findings: list[Finding] = []
    last: dict[str, int] = {}
    for item in records:
        if isinstance(item, BootRecord):
            last.setdefault(item.boot, 0)
        elif isinstance(item, GapRecord):
            lost = f"{item.lost} records" if item.lost >= 0 else "an unknown number of records"
            detail = f"run {item.boot[:8]}: {lost}, {item.open_requests} open requests: {item.reason}"
            findings.append(_finding(Problem.GAP, name, -1, detail))
            last[item.boot] = UNKNOWN  # what is missing has been said
        else:
            before = last.get(item.boot, 0)
            expected = item.seq if before == UNKNOWN else before + 1
            if item.seq != expected:
                detail = f"run {item.boot[:8]}: record {item.seq} where {expected} was due"
                findings.append(_finding(Problem.HOLE, name, -1, detail))
            last[item.boot] = item.seq
    return findings


def _failed(name: str, problem: Problem, detail: str) -> LogReport:
    found = (_finding(problem, name, -1, detail),)
    return LogReport(origin=name, size=0, cosigned_at=0, records=(), findings=found)


def _finding(problem: Problem, log: str, index: int, detail: str) -> Finding:
    return Finding(problem=problem, log=log, index=index, detail=detail)
