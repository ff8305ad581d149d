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


@agent.command("files")
def write_files(
    directory: Annotated[Path, typer.Option("--dir", help="Where key.pem, chain.pem and bundle.pem go.")],
    workload: Annotated[
        str, typer.Option(help="Which workload this process is, if it is several; its name or SPIFFE ID.")
    ] = "",
    socket: Annotated[
        str, typer.Option(help="The Workload API (SPIFFE_ENDPOINT_SOCKET); unix:///run/writ/workload.sock.")
    ] = "",
    key_mode: Annotated[str, typer.Option(help="Mode of the key.")] = "0600",
    mode: Annotated[str, typer.Option(help="Mode of chain and bundle.")] = "0644",
    run: Annotated[str, typer.Option("--exec", help="Command after each renewal; not a shell's.")] = "",
    signal: Annotated[str, typer.Option(help="Signal after each renewal, such as HUP.")] = "",
    pid_file: Annotated[Path | None, typer.Option(help="Whom to signal.")] = None,
    once: Annotated[bool, typer.Option("--once", help="Write once, then end.")] = False,
) -> None:
    """Keep the identity of a workload in files, for servers that know nothing else.

    Run it as the user that the workload is registered for.
    """
    given = {
        "--dir": str(directory),
        "--workload": workload,
        "--socket": socket,
        "--key-mode": key_mode,
        "--mode": mode,
        "--exec": run,
        "--signal": signal,
        "--pid-file": str(pid_file or ""),
    }
    words = [f"{name}={value}" for name, value in given.items() if value]
    _become("agent.workload", *words, *(("--once",) if once else ()))


def _become(module: str, *arguments: str) -> None:
    os.execv(sys.executable, [sys.executable, "-I", "-m", module, *arguments])  # noqa: S606 - replaces this process
