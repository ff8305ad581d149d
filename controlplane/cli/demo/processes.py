"""Processes of a mesh on loopback: started, watched and ended by pid; and what there is to know of a control plane's."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_S = 30.0
POLL_S = 0.005


class MeshError(Exception):
    """A process did not come up, or ended."""


@dataclass
class Process:
    """One process of ours, its log, and the file in which it says its ports."""

    name: str
    command: Sequence[str]
    log: Path
    ports_file: Path
    environment: dict[str, str] = field(default_factory=dict)
    child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.ports_file.unlink(missing_ok=True)
        with self.log.open("ab") as output:
            self.child = subprocess.Popen(
                list(self.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **self.environment},
                start_new_session=True,  # Ctrl-C is ours to handle
            )

    def ports(self) -> dict[str, Any]:
        """What the process wrote once it was ready; MeshError with the end of its log if it ended instead."""
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            with contextlib.suppress(FileNotFoundError, ValueError):
                return dict(json.loads(self.ports_file.read_text()))
            if self.child is not None and self.child.poll() is not None:
                break
            time.sleep(POLL_S)
        tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
        raise MeshError(f"{self.name} did not come up:\n{tail}")

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self.child is not None:
            with contextlib.suppress(ProcessLookupError):
                self.child.send_signal(number)
            self.child.wait(10)
            self.child = None


class Replica:
    """One control plane: its settings, its state, and its process."""

    def __init__(self, directory: Path, number: int) -> None:
        name = "controlplane" if number == 1 else f"controlplane-{number}"
        self.name, self.state = f"replica-{number}", directory / name
        self.config, self.api = directory / f"{name}.toml", ""
        self.process = Process(
            "control plane" if number == 1 else f"control plane {number}",
            [sys.executable, "-m", "controlplane", "--config", str(self.config)],
            directory / f"{name}.log",
            self.state / "ports.json",
        )

    def configure_like(self, first: "Replica") -> None:
        """The same settings, but for what is ours: directory, name, ports."""
        api, enrolment = (
            json.loads(first.process.ports_file.read_text())[key] for key in ("api", "enrolment")
        )
        text = first.config.read_text()
        for mine, theirs in (
            (f'state_dir = "{self.state}"', f'state_dir = "{first.state}"'),
            (f'passphrase_file = "{self.state}/passphrase"', f'passphrase_file = "{first.state}/passphrase"'),
            (f'name = "{self.name}"', f'name = "{first.name}"'),
            ('listen = "127.0.0.1:0"', f'listen = "127.0.0.1:{api}"'),
            ('enrolment_listen = "127.0.0.1:0"', f'enrolment_listen = "127.0.0.1:{enrolment}"'),
        ):
            text = "\n".join(mine if line == theirs else line for line in text.splitlines())
        self.config.write_text(text + "\n")

    def pin(self, ports: dict[str, int]) -> None:
        """Come back on the same ports after a restart: agents know them."""
        enrolment = f'enrolment_listen = "127.0.0.1:{ports["enrolment"]}"'
        replace_line(self.config, 'listen = "127.0.0.1:0"', f'listen = "{self.api}"')
        replace_line(self.config, 'enrolment_listen = "127.0.0.1:0"', enrolment)


def replace_line(path: Path, old: str, new: str) -> None:
    lines = [new if line == old else line for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
