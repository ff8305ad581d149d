"""The node's log on disk: whole after any kill, and whatever is done to it is named."""

import os
import shutil

import pytest

from agent.evidence.errors import RollbackError, WriteError
from agent.evidence.log import NodeLog
from audit import note, tiles, verify
from audit.record import BootRecord, DecisionRecord, GapRecord, dump
from audit.verify import Problem
from certs import keys
from controlplane.cli.evidence import reader

KEY, WITNESS = keys.generate_ed25519(), keys.generate_ed25519()
ME = "spiffe://acme.example/fr/paris/gpu-1"
LOG = note.VerifierKey("acme.example/audit/paris/gpu-1", note.NOTE, keys.raw(KEY.public_key()))
WITNESS_KEY = note.VerifierKey("acme.example/witness", note.COSIGNATURE, keys.raw(WITNESS.public_key()))


def decision(seq: int, **changes) -> DecisionRecord:
    fields = {name: "" for name, kind in DecisionRecord.__annotations__.items() if kind in {str, "str"}}
    fields |= {name: 0 for name, kind in DecisionRecord.__annotations__.items() if kind in {int, "int"}}
    fields |= {name: False for name, kind in DecisionRecord.__annotations__.items() if kind in {bool, "bool"}}
    return DecisionRecord(
        **{
            **fields,
            "node": ME,
            "boot": "b",
            "seq": seq,
            "request_id": str(seq),
            "kind": "decision",
            **changes,
        }
    )


def opened(directory) -> NodeLog:
    return NodeLog(directory, LOG, KEY.sign)


def grow(log: NodeLog, first: int, last: int) -> None:
    log.append([dump(decision(seq)) for seq in range(first, last + 1)])


def checked(directory, witness=WITNESS_KEY) -> list[Problem]:
    return [finding.problem for finding in verify.verify_log(reader(directory), LOG, witness).findings]


def cosigned(log: NodeLog) -> None:
    _, text = log.checkpoint()
    log.keep_cosigned(text + note.cosign(text, WITNESS_KEY, WITNESS.sign, 1))


@pytest.fixture
def whole(tmp_path):
    """600 records and a boot record, cosigned."""
    log = opened(tmp_path / "log")
    log.append([dump(BootRecord(node=ME, boot="b", time_ms=0, envoy="1"))])
    for first in range(1, 601, 60):  # groups that cross bundles
        grow(log, first, first + 59)
    cosigned(log)
    log.close()
    return tmp_path / "log"


def test_a_log_that_nobody_touched_verifies(whole) -> None:
    assert checked(whole) == []


def test_a_log_goes_on_after_a_restart(whole) -> None:
    log = opened(whole)
    assert log.size == 601
    grow(log, 601, 700)
    cosigned(log)
    log.close()
    assert checked(whole) == []


@pytest.mark.parametrize("cut", range(0, 60, 7))
def test_a_torn_journal_loses_only_what_was_never_acknowledged(tmp_path, cut) -> None:
    log = opened(tmp_path)
    grow(log, 1, 3)
    log.close()
    journal = tmp_path / "journal.0"
    data = journal.read_bytes()
    journal.write_bytes(data + tiles.bundle([dump(decision(4))])[:cut])
    again = opened(tmp_path)
    assert again.size == 3
    assert journal.read_bytes() == data
    again.close()


def test_a_log_shorter_than_its_checkpoint_refuses_to_go_on(whole) -> None:
    (whole / "journal.2").write_bytes(b"")
    with pytest.raises(RollbackError):
        opened(whole)


def _bend(directory, change) -> None:
    path = directory / tiles.entries_path(0)
    path.write_bytes(tiles.bundle(change(list(tiles.entries(path.read_bytes())))))


def _strip(directory) -> None:
    path = directory / tiles.COSIGNED
    path.write_text("\n".join(path.read_text().split("\n")[:5]) + "\n")


def _resign(directory) -> None:
    other = keys.generate_ed25519()
    path = directory / "checkpoint"
    head = note.open_checkpoint(path.read_text(), [LOG])[0]
    path.write_text(note.sign_checkpoint(head, LOG, other.sign))


ATTACKS = {
    "one byte changed": (
        lambda d: _bend(d, lambda e: [e[0], e[1].replace(b'"seq":1', b'"seq":7'), *e[2:]]),
        Problem.ALTERED,
    ),
    "a record deleted": (lambda d: _bend(d, lambda e: e[:5] + e[6:]), Problem.MISSING),
    "records swapped": (lambda d: _bend(d, lambda e: [e[1], e[0], *e[2:]]), Problem.MISSING),
    "a record added": (lambda d: _bend(d, lambda e: [e[0], e[0], *e[1:]]), Problem.ALTERED),
    "a bundle deleted": (lambda d: (d / tiles.entries_path(0)).unlink(), Problem.MISSING),
    "a tile deleted": (lambda d: (d / tiles.tile_path(0, 1)).unlink(), Problem.MISSING),
    "the checkpoint deleted": (lambda d: (d / "checkpoint").unlink(), Problem.NO_CHECKPOINT),
    "the cosignature removed": (_strip, Problem.NOT_WITNESSED),
    "signed by another key": (_resign, Problem.BAD_SIGNATURE),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_what_is_done_to_a_log_is_named(whole, tmp_path, name) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    attack, problem = ATTACKS[name]
    attack(copy)
    assert problem in checked(copy)


def test_a_rewritten_log_that_its_own_key_signed_lacks_the_witness(tmp_path) -> None:
    log = opened(tmp_path)
    grow(log, 1, 10)
    log.checkpoint()
    log.close()
    assert checked(tmp_path) == [Problem.NOT_WITNESSED]
    assert checked(tmp_path, witness=None) == []


def test_a_hole_in_the_count_of_a_run_is_named(tmp_path) -> None:
    log = opened(tmp_path)
    grow(log, 1, 5)
    grow(log, 8, 9)
    cosigned(log)
    log.close()
    assert checked(tmp_path) == [Problem.HOLE]


def test_pairs_that_do_not_match_are_named(tmp_path) -> None:
    peer, peer_key = "spiffe://acme.example/de/berlin/gpu-1", keys.generate_ed25519()
    far = note.VerifierKey("acme.example/audit/berlin/gpu-1", note.NOTE, keys.raw(peer_key.public_key()))
    sent = [
        decision(1, direction="out", peer=peer, allowed=True, status=200, peer_serial="1"),
        decision(2, direction="out", peer=peer, allowed=True, status=200, peer_serial="1"),
        decision(3, direction="out", peer=peer, allowed=True, status=200, peer_serial="1"),
        decision(4, direction="out", peer=peer, allowed=False, status=403),
    ]
    got = [
        decision(1, node=peer, direction="in", peer=ME, allowed=True, status=200),
        decision(2, node=peer, direction="in", peer=ME, allowed=True, status=500, request_id="3"),
        decision(3, node=peer, direction="in", peer=ME, allowed=True, status=200, request_id="9"),
    ]
    reports = []
    for directory, key, private, records in (("a", LOG, KEY, sent), ("b", far, peer_key, got)):
        log = NodeLog(tmp_path / directory, key, private.sign)
        log.append([dump(item) for item in records])
        log.checkpoint()
        log.close()
        reports.append(verify.verify_log(reader(tmp_path / directory), key, None))
    problems = {(f.problem, f.detail.split()[1]) for f in verify.reconcile(reports)}
    assert problems == {(Problem.UNPAIRED, "2"), (Problem.MISMATCH, "3"), (Problem.UNPAIRED, "9")}


@pytest.mark.parametrize("count", [255, 256, 257, 512])
def test_a_kill_after_the_sync_of_a_bundles_last_entry_loses_nothing(tmp_path, monkeypatch, count) -> None:
    """The journal holds the whole bundle; its files were never written."""
    log = opened(tmp_path)
    grow(log, 1, count - 1)
    log.close()
    journal = tmp_path / f"journal.{(count - 1) // 256}"
    journal.write_bytes(journal.read_bytes() + tiles.bundle([dump(decision(count))]))
    again = opened(tmp_path)
    assert again.size == count
    grow(again, count + 1, count + 10)
    cosigned(again)
    again.close()
    assert opened(tmp_path).size == count + 10
    assert checked(tmp_path) == []


def test_behind_torn_bytes_nothing_is_written(tmp_path, monkeypatch) -> None:
    log = opened(tmp_path)
    grow(log, 1, 2)
    real = os.write
    monkeypatch.setattr("os.write", lambda fd, data: real(fd, data[: len(data) // 2]))
    with pytest.raises(WriteError):
        grow(log, 3, 4)
    monkeypatch.undo()
    with pytest.raises(WriteError):
        grow(log, 3, 4)
    log.close()
    again = opened(tmp_path)
    assert again.size in {2, 3}
    again.close()


def test_a_declared_gap_is_no_hole(tmp_path) -> None:
    log = opened(tmp_path)
    grow(log, 1, 2)
    log.append(
        [
            dump(
                GapRecord(
                    node=ME, boot="b", time_ms=0, after_seq=2, lost=-1, open_requests=0, reason="disk full"
                )
            )
        ]
    )
    grow(log, 7, 8)
    cosigned(log)
    log.close()
    assert checked(tmp_path) == [Problem.GAP]


def test_a_record_of_another_node_is_foreign(tmp_path) -> None:
    log = opened(tmp_path)
    log.append([dump(decision(1, node="spiffe://acme.example/de/berlin/gpu-1"))])
    cosigned(log)
    log.close()
    assert checked(tmp_path) == [Problem.FOREIGN]


def test_a_log_cut_back_below_what_was_cosigned_is_truncated(whole, tmp_path) -> None:
    short = tmp_path / "short"
    log = opened(short)
    grow(log, 1, 9)
    log.checkpoint()
    log.close()
    shutil.copy(whole / tiles.COSIGNED, short / tiles.COSIGNED)
    assert Problem.TRUNCATED in checked(short)


def test_a_forked_log_does_not_extend_what_was_cosigned(whole, tmp_path) -> None:
    fork = tmp_path / "fork"
    log = opened(fork)
    for first in range(1, 801, 100):
        grow(log, first, first + 99)
    log.checkpoint()
    log.close()
    shutil.copy(whole / tiles.COSIGNED, fork / tiles.COSIGNED)
    assert Problem.FORK in checked(fork)


def test_checkpoints_leave_no_old_partial_tiles_behind(tmp_path) -> None:
    log = opened(tmp_path)
    for seq in range(1, 40):
        grow(log, seq, seq)
        cosigned(log)
    log.close()
    assert len([path for path in tmp_path.glob("tile/**/*.p/*") if path.is_file()]) == 2
    assert checked(tmp_path) == []


def test_a_write_that_fails_is_an_error_of_ours(tmp_path, monkeypatch) -> None:
    log = opened(tmp_path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(WriteError, match="No space left"):
        grow(log, 1, 1)
    monkeypatch.undo()
    assert log.size == 0
    log.close()
