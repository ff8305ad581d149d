"""The node's log on disk: whole after any kill. Attacks on it: `tests/e2e/attacks/logs.py` and `keeping.py`."""

import os

import pytest
from evidence import LOG, ME, WITNESS_KEY, cosigned, decision, grow, opened

from agent.evidence.errors import WriteError
from audit import tiles, verify
from audit.record import BootRecord, GapRecord, dump
from audit.verify import Problem
from controlplane.cli.evidence import reader


def checked(directory, witness=WITNESS_KEY) -> list[Problem]:
    return [finding.problem for finding in verify.verify_log(reader(directory), LOG, witness).findings]


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


def test_a_rewritten_log_that_its_own_key_signed_lacks_the_witness(tmp_path) -> None:
    log = opened(tmp_path)
    grow(log, 1, 10)
    log.checkpoint()
    log.close()
    assert checked(tmp_path) == [Problem.NOT_WITNESSED]
    assert checked(tmp_path, witness=None) == []


@pytest.mark.parametrize("count", [255, 256, 257, 512])
def test_a_kill_after_the_sync_of_a_bundles_last_entry_loses_nothing(tmp_path, monkeypatch, count) -> None:
    """The journal holds the whole bundle; its files were never written."""
    log = opened(tmp_path)
    grow(log, 1, count - 1)
    log.close()
    journal = tmp_path / f"journal.{(count - 1) // 256}"
    before = (
        journal.read_bytes() if journal.exists() else b""
    )  # of a bundle that has nothing yet there is none
    journal.write_bytes(before + tiles.bundle([dump(decision(count))]))
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


def test_checkpoints_leave_no_old_partial_tiles_behind(tmp_path) -> None:
    log = opened(tmp_path)
    for seq in range(1, 40):
        grow(log, seq, seq)
        cosigned(log)
    log.close()
    assert len([path for path in tmp_path.glob("tile/**/*.p/*") if path.is_file()]) == 2
    assert checked(tmp_path) == []
