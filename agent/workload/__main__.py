"""`python -I -m agent.workload`: arguments and exit codes of `writ agent files`; the rest is `exporter`."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from pathlib import Path

import structlog

from agent.errors import AgentError, ConfigError
from agent.workload import endpoint, exporter, hook
from agent.workload.exporter import Export
from agent.workload.fileset import FileSet, Modes

DEFAULT = "unix:///run/writ/workload.sock"


def main() -> int:
    given = _arguments()
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        export = Export(
            target=endpoint.target(given.socket or os.environ.get(endpoint.VARIABLE) or DEFAULT),
            workload=given.workload,
            once=given.once,
        )
        modes = Modes(key=_mode(given.key_mode), others=_mode(given.mode))
        tell = hook.make(given.exec, given.signal, given.pid_file)
        asyncio.run(_until_asked(export, FileSet(given.dir, modes), tell))
    except* AgentError as group:
        first = group.exceptions[0]
        hint = getattr(first, "hint", "")
        sys.stderr.write(f"error: {first}\n" + (f"hint: {hint}\n" if hint else ""))
        return_code = 2 if isinstance(first, ConfigError) else 1
    else:
        return_code = 0
    return return_code


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="writ agent files", description="Keep one identity in files.")
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("--workload", default="")
    parser.add_argument("--socket", default="")
    parser.add_argument("--key-mode", default="0600")
    parser.add_argument("--mode", default="0644")
    parser.add_argument("--exec", default="")
    parser.add_argument("--signal", default="")
    parser.add_argument("--pid-file", type=Path, default=None)
    parser.add_argument("--once", action="store_true")
    return parser.parse_args()


async def _until_asked(export: Export, files: FileSet, tell: hook.Hook) -> None:
    running = asyncio.ensure_future(exporter.run(export, files, tell))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with contextlib.suppress(asyncio.CancelledError):
        await running


def _mode(text: str) -> int:
    try:
        mode = int(text, 8)
    except ValueError as exc:
        raise ConfigError(f"`{text}` is no mode", hint="octal, such as 0640") from exc
    if not 0 < mode <= 0o777:  # noqa: PLR2004
        raise ConfigError(f"`{text}` is no mode", hint="octal, such as 0640")
    return mode


if __name__ == "__main__":
    sys.exit(main())
