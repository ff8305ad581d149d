"""`writ backup`: the whole store as one encrypted file, and the way back. Run where the control plane's settings are."""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import session
from controlplane.cli.daemons import DEFAULT, Settings, become

app = typer.Typer(help="Back up the store, and go on from a backup.", no_args_is_help=True)

Agents = Annotated[
    list[Path],
    typer.Option("--agent", help="state_dir of an agent, or a copy: what was revoked since is read there."),
]
WithoutAgents = Annotated[
    bool, typer.Option("--without-agents", help="There is no agent left: forget what was revoked since.")
]


@app.command()
def create(
    out: Annotated[Path, typer.Option(help="File to write.")],
    config: Settings = DEFAULT,
) -> None:
    """Write every row of one revision into a file, encrypted with `store.kek_file`. The control plane may run.

    Private keys are not in it: they never leave their directory. Keep copies of that directory apart.
    """
    become("controlplane", "backup-create", "--config", str(config), "--out", str(out))


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `create` wrote.")],
    config: Settings = DEFAULT,
    new_epoch: Annotated[bool, typer.Option("--new-epoch", help="Open a new epoch at once.")] = False,
    agent: Agents = [],  # noqa: B006 - typer reads it, and gives a new one
    without_agents: WithoutAgents = False,
) -> None:
    """Restore into an empty store, with the control plane stopped. Nothing is served from it before a new epoch is opened."""
    session.confirm(f"restore `{file}`?")
    words = ["--file", str(file), *(["--new-epoch"] if new_epoch else [])]
    become("controlplane", "backup-restore", "--config", str(config), *words, *_agents(agent, without_agents))


@app.command("new-epoch")
def open_epoch(
    config: Settings = DEFAULT,
    agent: Agents = [],  # noqa: B006 - as above
    without_agents: WithoutAgents = False,
) -> None:
    """Go on from a store that was put back to an older state, with every control plane stopped.

    Generations jump above all that agents hold. What they know to be revoked stays revoked: show the documents of an agent.
    """
    session.confirm("open a new epoch? what was changed since that state is lost")
    become("controlplane", "new-epoch", "--config", str(config), *_agents(agent, without_agents))


def _agents(directories: list[Path], without: bool) -> list[str]:
    words = [word for one in directories for word in ("--agent", str(one))]
    return words + (["--without-agents"] if without else [])
