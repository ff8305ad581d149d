"""`writ demo`: start a whole mesh on this machine and show it at work."""

from typing import Annotated

import typer

from controlplane.cli.errors import CliError, Exit
from controlplane.cli.setup import Store


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False,
    store: Annotated[Store, typer.Option(help="Where the control plane keeps its state.")] = Store.sqlite,
    replicas: Annotated[int, typer.Option(min=1, max=3, help="Control planes; more than one need etcd.")] = 1,
) -> None:
    """Show three sites at work: allowed, denied, cut, failed closed, proven. Ends non-zero if anything differs."""
    from controlplane.cli.demo import scenario

    if replicas > 1 and store is Store.sqlite:
        raise CliError("one SQLite file serves one control plane", code=Exit.USAGE, hint="--store etcd")
    raise typer.Exit(scenario.play(keep=keep, store=store.value, replicas=replicas))
