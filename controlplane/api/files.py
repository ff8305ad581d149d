"""Files that are whole or not there, and nobody else's: written beside with mode 0600, synced, renamed, the directory synced."""

import os
from collections.abc import Mapping
from pathlib import Path


def write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`; after a crash it holds the old or the new bytes, never a mixture."""
    write_all({path: data})


def write_all(wanted: Mapping[Path, bytes]) -> None:
    """The same for several files, in order; after a crash each by itself is old or new. A sync of a directory takes
    milliseconds: one for all.
    """
    for path, data in wanted.items():
        beside = _beside(path)
        beside.unlink(missing_ok=True)  # what stands there may be somebody else's, or a link
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    for path in wanted:
        _beside(path).replace(path)
    for parent in dict.fromkeys(path.parent for path in wanted):
        sync_directory(parent)


def read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def sync_directory(directory: Path) -> None:
    """What was made, renamed or removed in it lasts."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")
