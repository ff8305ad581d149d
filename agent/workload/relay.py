"""The door: accepts connections on the public socket, attests who connected, and relays bytes to the gRPC server within.

gRPC's Python API does not tell who is at the other end of a Unix socket. So each connection gets one of its own to the
inner socket, bound to a name nobody can guess, and gRPC does tell that name. The inner socket is in the agent's directory
(0700): what comes from there came through this door. A connection lives no longer than the process that opened it.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import stat
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path

import structlog

from agent.errors import ConfigError
from agent.workload import peer
from agent.workload.peer import Caller

log = structlog.get_logger()
CHUNK = 64 << 10
MAX_CONNECTIONS, MAX_PER_UID = 2048, 512  # one user cannot keep the others out
PREFIX = "unix-abstract:"
BACKLOG = 128


class Relay:
    """Owns the public socket and knows who is behind each inner connection."""

    def __init__(self, public: Path, inner: Path) -> None:
        self._public, self._inner = public, inner
        self._callers: dict[str, Caller] = {}
        self._uids: Counter[int] = Counter()
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    def bind(self) -> socket.socket:
        """Take the place; ConfigError when it is not ours to take."""
        _check_place(self._public)
        listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            listening.bind(str(self._public))
            self._public.chmod(0o666)  # any local process may ask: the kernel says who it is
        except OSError as exc:
            listening.close()
            raise ConfigError(f"cannot serve workloads at `{self._public}`: {exc.strerror}") from exc
        return listening

    async def start(self, listening: socket.socket) -> None:
        self._server = await asyncio.start_unix_server(self._accepted, sock=listening, backlog=BACKLOG)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        with contextlib.suppress(FileNotFoundError):
            self._public.unlink()
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def caller(self, peer_name: str) -> Caller | None:
        """Who is behind a gRPC call; None if it did not come through here, or its process has ended."""
        found = self._callers.get(peer_name)
        return found if found is not None and found.alive else None

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("connections are accepted in a task")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            await self._serve(reader, writer)
        except (OSError, asyncio.IncompleteReadError) as exc:
            log.debug("workload_connection_ended", reason=str(exc))
        finally:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        caller = peer.attest(writer.get_extra_info("socket"))
        try:
            if len(self._callers) >= MAX_CONNECTIONS or self._uids[caller.uid] >= MAX_PER_UID:
                log.warning("workload_connections_refused", uid=caller.uid)
                return
            self._uids[caller.uid] += 1
            try:
                await self._relay(caller, reader, writer)
            finally:
                self._uids[caller.uid] -= 1
                if not self._uids[caller.uid]:
                    del self._uids[caller.uid]
        finally:
            peer.close(caller)

    async def _relay(
        self, caller: Caller, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        name = f"writ-{secrets.token_hex(16)}"
        inner = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        inner.setblocking(False)  # noqa: FBT003 - the library's signature
        inner.bind(f"\0{name}")
        self._callers[PREFIX + name] = caller
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        if caller.pidfd >= 0:
            loop.add_reader(caller.pidfd, ended.set)
        try:
            await loop.sock_connect(inner, str(self._inner))
            inner_reader, inner_writer = await asyncio.open_unix_connection(sock=inner)
            try:
                await _first(_copy(reader, inner_writer), _copy(inner_reader, writer), ended.wait())
            finally:
                inner_writer.close()
        finally:
            inner.close()
            if caller.pidfd >= 0:
                loop.remove_reader(caller.pidfd)
            del self._callers[PREFIX + name]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(CHUNK):
        writer.write(data)
        await writer.drain()


async def _first(*works: Coroutine[object, object, object]) -> None:
    """Until one of these ends; the others end with it."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _check_place(public: Path) -> None:
    """Only who owns the directory can put another socket in our place; a socket that answers is somebody's."""
    try:
        public.parent.mkdir(mode=0o755, exist_ok=True)
        place = public.parent.stat()
    except OSError as exc:
        raise ConfigError(f"cannot serve workloads at `{public}`: {exc.strerror}") from exc
    others = place.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not place.st_mode & stat.S_ISVTX
    if place.st_uid not in {0, os.geteuid()} or others:
        raise ConfigError(
            f"`{public.parent}` can be written by others", hint="workloads would trust whoever serves there"
        )
    with (
        socket.socket(socket.AF_UNIX) as probe,
        contextlib.suppress(ConnectionRefusedError, FileNotFoundError),
    ):
        probe.connect(str(public))
        raise ConfigError(f"another process serves `{public}`", hint="set workload.socket")
    with contextlib.suppress(FileNotFoundError):
        public.unlink()
