"""`writ demo`: start a whole mesh on this machine and show it at work."""

from typing import Annotated

import typer


def demo(keep: Annotated[bool, typer.Option("--keep", help="Leave it running at the end.")] = False) -> None:
    """Show three sites at work: allowed, denied, cut, failed closed, proven. Ends non-zero if anything differs."""
    from controlplane.cli.demo import scenario

    raise typer.Exit(scenario.play(keep=keep))
