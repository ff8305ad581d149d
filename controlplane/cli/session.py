"""What every command shares: the global options and the client they lead to."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import typer

from controlplane.cli import anchors
from controlplane.cli import context as contexts
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.cli.client import Client


class Format(StrEnum):
    """How results are printed."""

    table = "table"
    json = "json"
    sarif = "sarif"  # findings alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The global options of one invocation."""

    context: str | None = None
    output: Format = Format.table
    timeout_s: float = 15.0
    yes: bool = False


options = Options()
"""Set once by the root callback before a command runs; commands read it."""


def connect() -> "Client":
    """Open the client of the chosen context. Imports gRPC here and not on top: 150 ms that `--help` need not pay."""
    from controlplane.cli.client import Client

    client = Client(contexts.load(options.context), timeout_s=options.timeout_s)
    anchors.refresh_if_old(client)
    return client


def connect_each() -> Iterator["Client"]:
    """A client of every control plane that the context names: for what each has of its own."""
    from controlplane.cli.client import Client

    context = contexts.load(options.context)
    for address in context.addresses:
        yield Client(replace(context, address=address), timeout_s=options.timeout_s)


def wants_json() -> bool:
    if options.output is Format.sarif:
        raise CliError("only `writ policy lint` prints SARIF", code=Exit.USAGE, hint="-o json")
    return options.output is Format.json


def confirm(question: str) -> None:
    """Ask before what cannot be undone; without a terminal only `--yes` goes on."""
    if not options.yes and not typer.confirm(question, default=False):
        raise CliError("not confirmed, nothing was changed", hint="--yes answers the question")


def split_node(name: str) -> tuple[str, str]:
    """`<node>.<site>` -> (node, site)."""
    node, dot, site = name.partition(".")
    if not (node and dot and site) or "." in site:
        raise CliError(
            f"`{name}` is not a node name",
            code=Exit.USAGE,
            hint="write `<node>.<site>`, such as `gpu-1.berlin`",
        )
    return node, site
