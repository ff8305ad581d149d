"""A growing log, kept in memory that can be cut at any step: whole after every end, and never shorter than what it signed."""

import pytest
from evidence import KEY, LOG, ME, WITNESS, WITNESS_KEY, decision

from audit import note, tiles, verify
from audit.growing import GrowingLog, ShorterError
from audit.record import AdminRecord, BootRecord, dump
from audit.verify import Problem


class CutError(Exception):
    """The machine is gone."""


class Memory:
    """Files in memory; dies before the step that it is told, as by power loss. `unsynced` is what a loss would take."""

    def __init__(self, steps: int = 1 << 30) -> None:
        self.kept: dict[str, bytes] = {}
        self.synced: dict[str, int] = {}
        self.steps = steps

    def _step(self) -> None:
        if self.steps == 0:
            raise CutError
        self.steps -= 1

    def read(self, path: str) -> bytes | None:
        return self.kept.get(path)

    def write(self, path: str, data: bytes) -> None:
        self._step()
        self.kept[path], self.synced[path] = data, len(data)

    def append(self, path: str, data: bytes) -> None:
        self._step()
        self.kept[path] = self.kept.get(path, b"") + data

    def sync(self, path: str) -> None:
        self._step()
        self.synced[path] = len(self.kept.get(path, b""))

    def cut(self, path: str, size: int) -> None:
        self._step()
        self.kept[path] = self.kept[path][:size]

    def remove(self, path: str) -> None:
        self._step()
        self.kept.pop(path, None)
        self.synced.pop(path, None)

    def lose_power(self) -> None:
        """Only what was synced is left, and a few bytes more: a torn end."""
        self.kept = {path: data[: self.synced.get(path, 0) + 3] for path, data in self.kept.items()}
        self.steps = 1 << 30


def opened(files: Memory) -> GrowingLog:
    return GrowingLog(files, LOG, KEY.sign)


def grown(files: Memory, first: int, last: int) -> GrowingLog:
    log = opened(files)
    log.append([dump(decision(seq)) for seq in range(first, last + 1)])
    return log


def checked(files: Memory) -> list[Problem]:
    return [finding.problem for finding in verify.verify_log(files.read, LOG, None).findings]


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 513, 1000])
def test_a_log_of_any_size_verifies_and_goes_on_after_it_was_opened_again(size) -> None:
    files = Memory()
    grown(files, 1, size).checkpoint()
    assert checked(files) == []
    again = grown(files, size + 1, size + 300)
    assert again.size == size + 300
    again.checkpoint()
    assert checked(files) == []
    assert again.root(size) != again.root(size + 300)


def test_a_log_of_three_levels_is_resumed_from_its_tiles() -> None:
    files = Memory()
    count = tiles.WIDTH * tiles.WIDTH + tiles.WIDTH + 5
    log = opened(files)
    entry = dump(decision(1))
    log.append([entry] * count)
    head, _ = log.checkpoint()
    again = opened(files)
    assert (again.size, again.root(again.size)) == (count, head.root)
    assert again.consistency(300, count) == log.consistency(300, count)


@pytest.mark.parametrize("after", range(40))
def test_killed_at_any_step_it_holds_all_that_was_synced(after) -> None:
    files = Memory()
    log = grown(files, 1, 250)
    log.checkpoint()
    files.steps, acknowledged = after, 250
    try:
        for seq in range(251, 266):  # over the end of a bundle
            log.append([dump(decision(seq))])
            log.sync()
            acknowledged = seq
            if seq % 5 == 0:
                log.checkpoint()
    except CutError:
        pass
    files.lose_power()
    again = opened(files)
    assert again.size >= acknowledged
    again.checkpoint()
    assert checked(files) == []


def test_a_log_that_is_shorter_than_its_checkpoint_does_not_open() -> None:
    files = Memory()
    grown(files, 1, 300).checkpoint()
    del files.kept["journal.1"]
    with pytest.raises(ShorterError, match="holds 256 entries, its own checkpoint says 300"):
        opened(files)


def test_a_log_with_another_past_than_it_signed_does_not_open() -> None:
    files = Memory()
    grown(files, 1, 3).checkpoint()
    files.kept["journal.0"] = tiles.bundle([dump(decision(seq)) for seq in (1, 2, 9)])
    with pytest.raises(ShorterError):
        opened(files)


def test_a_cosigned_checkpoint_speaks_against_a_rewritten_past() -> None:
    files = Memory()
    log = grown(files, 1, 10)
    _, text = log.checkpoint()
    log.keep_cosigned(text + note.cosign(text, WITNESS_KEY, WITNESS.sign, 1))
    rewritten = Memory()
    grown(rewritten, 1, 9).checkpoint()
    rewritten.kept[tiles.COSIGNED] = files.kept[tiles.COSIGNED]
    found = verify.verify_log(rewritten.read, LOG, WITNESS_KEY)
    assert [finding.problem for finding in found.findings] == [Problem.TRUNCATED]


def admin(seq: int, node: str = "spiffe://acme.example/control-plane/replica-1") -> AdminRecord:
    texts = (
        "call_id",
        "operator",
        "role",
        "credential",
        "call",
        "target",
        "arguments",
        "outcome",
        "reason",
        "approval",
    )
    return AdminRecord(node=node, boot="b", seq=seq, time_ms=0, suppressed=0, **dict.fromkeys(texts, "x"))


def test_a_control_plane_records_administration_and_nodes_record_decisions() -> None:
    """Neither may stand in the other's log, and holes in a run are seen."""
    key = note.VerifierKey("acme.example/audit/control-plane/replica-1", note.NOTE, LOG.key)

    def found(key: note.VerifierKey, *records) -> list[Problem]:
        files = Memory()
        log = GrowingLog(files, key, KEY.sign)
        log.append([dump(one) for one in records])
        log.checkpoint()
        return [finding.problem for finding in verify.verify_log(files.read, key, None).findings]

    assert found(key, admin(1), admin(2)) == []
    assert found(key, admin(1), admin(3)) == [Problem.HOLE]
    assert found(key, admin(1, "spiffe://acme.example/control-plane/replica-2")) == [Problem.FOREIGN]
    assert found(key, decision(1)) == [Problem.FOREIGN]
    assert found(LOG, BootRecord(node=ME, boot="b", time_ms=0, envoy=""), admin(1)) == [Problem.FOREIGN]
