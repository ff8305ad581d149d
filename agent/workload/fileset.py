"""Key, chain and bundle as files for software that knows nothing else: always of one moment.

The three are written into a directory of their own, and one symbolic link is put over: whoever opens `key.pem` and
`chain.pem` after that has a pair. The set before stays for those who are just reading it.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import ConfigError

CURRENT = "current"
PREFIX = ".set-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Modes:
    """Who may read."""

    key: int = 0o600
    others: int = 0o644


class FileSet:
    """Owns links and sets in one directory, and touches nothing else there."""

    def __init__(self, directory: Path, modes: Modes) -> None:
        self._directory, self._modes = directory, modes

    def write(self, files: Mapping[str, bytes]) -> bool:
        """Put this set in place of the one before; was there one, and was it another?"""
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for name in (CURRENT, *files):
            path = self._directory / name
            if path.exists() and not path.is_symlink():
                raise ConfigError(f"`{path}` is a file of somebody else", hint="give a directory of its own")
        before = self._now()
        if before is not None and all(_is(before / name, data) for name, data in files.items()):
            return False
        fresh = Path(tempfile.mkdtemp(prefix=PREFIX, dir=self._directory))
        for name, data in files.items():
            _write(fresh / name, data, self._modes.key if name.startswith("key.") else self._modes.others)
        fresh.chmod(0o755)
        _sync(fresh)
        self._link(fresh.name, CURRENT)
        for name in files:
            self._link(f"{CURRENT}/{name}", name)
        _sync(self._directory)
        self._forget({fresh, before})
        return before is not None

    def remove(self) -> None:
        """Nothing of it may be used any more."""
        for path in self._directory.glob("*") if self._directory.is_dir() else ():
            if path.is_symlink() and str(path.readlink()).startswith((CURRENT, PREFIX)):
                path.unlink()
        self._forget(set())

    def _now(self) -> Path | None:
        link = self._directory / CURRENT
        return self._directory / link.readlink() if link.is_symlink() else None

    def _link(self, to: str, name: str) -> None:
        beside = self._directory / f".{name}.new"
        beside.unlink(missing_ok=True)
        beside.symlink_to(to)
        beside.replace(self._directory / name)

    def _forget(self, keep: set[Path | None]) -> None:
        for path in self._directory.glob(f"{PREFIX}*"):
            if path not in keep:
                shutil.rmtree(path, ignore_errors=True)


def _is(path: Path, data: bytes) -> bool:
    try:
        return path.read_bytes() == data
    except OSError:
        return False


def _write(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)  # before there is anything to read, and whatever the umask
        file.write(data)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
