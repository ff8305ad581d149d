"""`writ controlplane run`, `writ agent run`: they only start the service, isolated from the caller's directory.

`python -I` ignores PYTHONPATH and the working directory, so an application's own `agent.py` cannot stand in for ours.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

controlplane = typer.Typer(help="The control plane as a service.", no_args_is_help=True)
agent = typer.Typer(help="The agent as a service.", no_args_is_help=True)


@controlplane.command("run")
def run_controlplane(
    config: Annotated[Path, typer.Option(help="Its settings.")] = Path("/etc/writ/controlplane.toml"),
) -> None:
    """Run the control plane in the foreground."""
    _become("controlplane", "--config", str(config))


@agent.command("run")
def run_agent(
    config: Annotated[Path, typer.Option(help="Its settings.")] = Path("/etc/writ/agent.toml"),
) -> None:
    """Run the agent in the foreground. SIGTERM leaves Envoy enforcing; Ctrl-C stops it too."""
    _become("agent", "--config", str(config))


def _become(module: str, *arguments: str) -> None:
    os.execv(sys.executable, [sys.executable, "-I", "-m", module, *arguments])  # noqa: S606 - replaces this process
