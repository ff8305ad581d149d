"""Who is at the other end of a Unix connection: what the kernel says, and nothing that the caller says.

1. uid and gid are those of the process that called connect(2), kept by the kernel: passing the connection on changes nothing.
2. An id that this user namespace does not know shows as the overflow id, like every other: it is no selector.
3. A pid is a number that the kernel gives out again. It counts only with a pidfd taken from the connection itself
   (SO_PEERPIDFD, Linux 6.5): what is read from /proc counts only if that process still lives afterwards. Without it
   there are no selectors from the pid.
4. The pod is the first one named on the process's cgroup path: below it a container may name groups as it likes.
Not attested: the program's path or hash. A process may connect, hand the connection to another, and only then become
that program.
"""

import contextlib
import os
import re
import select
import socket
import struct
from dataclasses import dataclass
from pathlib import Path

SO_PEERPIDFD = 77  # asm-generic/socket.h; not in Python's socket module yet
UCRED = struct.Struct("3i")
POD = re.compile(
    r"^/(?:kubelet(?:\.slice)?/)?"
    r"(?:kubepods(?:/(?:burstable|besteffort))?/pod(?P<plain>[0-9a-f-]{36})"
    r"|(?:kubelet-)?kubepods\.slice/"
    r"(?:(?:kubelet-)?kubepods-(?:burstable|besteffort)\.slice/)?"
    r"(?:kubelet-)?kubepods(?:-burstable|-besteffort)?-pod(?P<escaped>[0-9a-f_]{36})\.slice)/"
)
OVERFLOW = {"uid": Path("/proc/sys/kernel/overflowuid"), "gid": Path("/proc/sys/kernel/overflowgid")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An attested process. `pidfd` -1: the kernel gives none; otherwise the caller of `attest` closes it."""

    uid: int
    pid: int
    pidfd: int
    selectors: frozenset[str]

    @property
    def alive(self) -> bool:
        """Is the process that connected still there? Unknown counts as yes: then nothing hangs on it."""
        return self.pidfd < 0 or not _ended(self.pidfd)


def attest(connection: socket.socket) -> Caller:
    """The process that connected. OSError when there is none any more."""
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size)
    pid, uid, gid = UCRED.unpack(raw)
    pidfd = _pidfd(connection)
    selectors = {
        f"unix:{kind}:{value}" for kind, value in (("uid", uid), ("gid", gid)) if _known(kind, value)
    }
    if pidfd >= 0 and pid > 0:
        selectors |= _pod_selectors(pid, pidfd)
    return Caller(uid=uid, pid=pid, pidfd=pidfd, selectors=frozenset(selectors))


def pod_of(cgroup: str) -> str:
    """The pod's uid in a path of /proc/<pid>/cgroup, or nothing."""
    found = POD.match(cgroup.rstrip("/") + "/")
    if found is None:
        return ""
    return found["plain"] or found["escaped"].replace("_", "-")


def _pidfd(connection: socket.socket) -> int:
    try:
        return connection.getsockopt(socket.SOL_SOCKET, SO_PEERPIDFD)
    except OSError:  # an older kernel, or a process that has ended and was reaped
        return -1


def _known(kind: str, value: int) -> bool:
    return value >= 0 and value != int(OVERFLOW[kind].read_text())


def _pod_selectors(pid: int, pidfd: int) -> set[str]:
    """Read, then look whether the pid was still that process's: only then was it its cgroup."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
        if not _ended(pidfd):
            # cgroup v2 has one hierarchy, `0::<path>`; with v1 beside it, every line must name the same pod.
            pods = {pod_of(line.split(":", 2)[2]) for line in lines if line.count(":") >= 2}  # noqa: PLR2004
            return {f"k8s:pod-uid:{pod}" for pod in pods if pod and len(pods) == 1}
    return set()


def _ended(pidfd: int) -> bool:
    """A pidfd is readable once its process has ended."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def close(caller: Caller) -> None:
    if caller.pidfd >= 0:
        os.close(caller.pidfd)
