"""Files are old or new, whole, and only the agent's."""

from pathlib import Path

import pytest

from controlplane.api import files


def test_several_files_are_replaced_together_and_leave_nothing_beside_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    files.write(first, b"old")
    files.write_all({first: b"new", second: b"more"})
    assert (files.read(first), files.read(second)) == (b"new", b"more")
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {
        "first": 0o600,
        "second": 0o600,
    }


def test_what_cannot_be_written_whole_replaces_nothing(tmp_path: Path) -> None:
    first = tmp_path / "first"
    files.write(first, b"old")
    with pytest.raises(FileNotFoundError):
        files.write_all({first: b"new", tmp_path / "missing" / "second": b"more"})
    assert files.read(first) == b"old"
