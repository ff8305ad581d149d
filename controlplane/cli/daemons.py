"""`writ controlplane run`, `writ agent run`: they only start the service, isolated from the caller's directory.

`python -I` ignores PYTHONPATH and the working directory, so an application's own `agent.py` cannot stand in for ours.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import context as contexts
from controlplane.cli import session

controlplane = typer.Typer(help="The control plane as a service.", no_args_is_help=True)
agent = typer.Typer(help="The agent as a service.", no_args_is_help=True)


@controlplane.command("run")
def run_controlplane(
    config: Annotated[Path, typer.Option(help="Its settings.")] = Path("/etc/writ/controlplane.toml"),
) -> None:
    """Run the control plane in the foreground."""
    become("controlplane", "--config", str(config))


RootDir = Annotated[
    Path, typer.Option("--root", help="Directory that holds the root, as `writ init` made it.")
]
Passphrase = Annotated[
    Path | None,
    typer.Option("--root-passphrase-file", help="Of the root's keys; else `passphrase` beside them."),
]
Settings = Annotated[Path, typer.Option(help="Settings of the control plane.")]
DEFAULT = Path("/etc/writ/controlplane.toml")


@controlplane.command()
def join(
    config: Settings = DEFAULT,
    root: Annotated[Path | None, typer.Option(help="Directory of the root: all in one step.")] = None,
    root_passphrase_file: Passphrase = None,
    request: Annotated[Path | None, typer.Option(help="Write what the root's holder is to sign.")] = None,
    grant: Annotated[Path | None, typer.Option(help="Read what the root's holder signed.")] = None,
) -> None:
    """Make this control plane a replica of a mesh in etcd: keys of its own, signed by the root. Then `run`.

    With the root at hand: `--root DIR`. Else `--request FILE` here, `admit` where the root is, `--grant FILE` here. Run as
    the operator, it lets the current context know the new replica.
    """
    options = {
        "--root": root,
        "--root-passphrase-file": root_passphrase_file,
        "--request": request,
        "--grant": grant,
    }
    words = [word for option, path in options.items() if path for word in (option, str(path))]
    path = contexts.config_path()
    if path.exists() and not request:
        words += ["--out-context", str(path), "--context", contexts.load(session.options.context).name]
    become("controlplane", "join", "--config", str(config), *words)


@controlplane.command()
def admit(
    request: Annotated[Path, typer.Option(help="What the new replica wrote.")],
    grant: Annotated[Path, typer.Option(help="Where to write the answer.")],
    root: RootDir,
    root_passphrase_file: Passphrase = None,
) -> None:
    """Where the root is: sign the request of a new replica."""
    words = ["--root", str(root), "--request", str(request), "--grant", str(grant)]
    words += ["--root-passphrase-file", str(root_passphrase_file)] if root_passphrase_file else []
    become("controlplane", "admit", *words)


@controlplane.command()
def remove(
    replica: Annotated[str, typer.Argument(help="Name of the replica that is lost.")],
    root: RootDir,
    config: Settings = DEFAULT,
    root_passphrase_file: Passphrase = None,
) -> None:
    """Take a lost replica's CAs and document key out of the mesh, at once.

    Nodes whose certificate is by its CA are refused from then on, and must enrol again: for a replica that is only broken,
    ask them to renew first, or wait until its certificates have ended.
    """
    session.confirm(f"remove replica `{replica}`?")
    words = ["--config", str(config), "--root", str(root), "--replica", replica]
    words += ["--root-passphrase-file", str(root_passphrase_file)] if root_passphrase_file else []
    become("controlplane", "remove", *words)


@controlplane.command()
def operator(
    name: Annotated[str, typer.Argument(help="Of the administrator.")] = "admin", config: Settings = DEFAULT
) -> None:
    """Make an administrator with the keys of this machine: the way back in when nobody's certificate is valid.

    The control plane takes him at its next start, and records that. With a running mesh use `writ operator add`.
    """
    context = session.options.context or f"recovered-{name}"
    words = ["--config", str(config), "--name", name, "--context", context]
    become("controlplane", "operator", *words, "--out-context", str(contexts.config_path()))


@agent.command("run")
def run_agent(
    config: Annotated[Path, typer.Option(help="Its settings.")] = Path("/etc/writ/agent.toml"),
) -> None:
    """Run the agent in the foreground. SIGTERM leaves Envoy enforcing; Ctrl-C stops it too."""
    become("agent", "--config", str(config))


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
    become("agent.workload", *words, *(("--once",) if once else ()))


def become(module: str, *arguments: str) -> None:
    """Turn into a service, or a ceremony of one."""
    os.execv(sys.executable, [sys.executable, "-I", "-m", module, *arguments])  # noqa: S606 - replaces this process
