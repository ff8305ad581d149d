"""Tell a server that its files are new: a command, or a signal to the process of a pid file.

A server that was not told goes on with a certificate that ends. So what fails is tried again, until it succeeds or there is
something newer to tell.
"""

import asyncio
import os
import shlex
import signal
from dataclasses import dataclass
from pathlib import Path

import structlog

from agent.errors import ConfigError

log = structlog.get_logger()
COMMAND_S = 60
FIRST_RETRY_S, MAX_RETRY_S = 1.0, 60.0


class HookError(Exception):
    """It was not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """What to do after each renewal. No shell: the command is split into words, nothing else happens to it."""

    command: tuple[str, ...] = ()
    number: signal.Signals | None = None
    pid_file: Path | None = None

    async def run(self) -> None:
        """Until it has succeeded."""
        retry = FIRST_RETRY_S
        while True:
            try:
                await self._once()
            except (HookError, OSError, ValueError) as exc:
                log.warning("hook_failed", reason=str(exc), again_s=retry)
                await asyncio.sleep(retry)
                retry = min(retry * 2, MAX_RETRY_S)
                continue
            log.info("hook_done")
            return

    async def _once(self) -> None:
        if self.command:
            await _command(self.command)
        if self.number is not None and self.pid_file is not None:
            os.kill(_pid(self.pid_file), self.number)


def make(command: str, signal_name: str, pid_file: Path | None) -> Hook:
    """From options; ConfigError says what is wrong with them."""
    if bool(signal_name) != bool(pid_file):
        raise ConfigError("a signal and a pid file go together")
    try:
        number = signal.Signals[f"SIG{signal_name.removeprefix('SIG')}"] if signal_name else None
    except KeyError as exc:
        raise ConfigError(f"`{signal_name}` is no signal", hint="HUP, USR1, …") from exc
    return Hook(command=tuple(shlex.split(command)), number=number, pid_file=pid_file)


async def _command(words: tuple[str, ...]) -> None:
    process = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(COMMAND_S):
            code = await process.wait()
    except TimeoutError as exc:
        process.kill()
        await process.wait()
        raise HookError(f"`{words[0]}` took longer than {COMMAND_S} s") from exc
    if code:
        raise HookError(f"`{words[0]}` ended with `{code}`")


def _pid(path: Path) -> int:
    pid = int(path.read_text())
    if pid <= 1:  # 0 and below are whole process groups
        raise HookError(f"`{path}` names no process")
    return pid
