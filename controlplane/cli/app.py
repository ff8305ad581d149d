"""`writ`: the operator's command. This file knows the global options, the nouns, and how errors end.

Each noun is a file of its own and imports nothing heavy: gRPC, protobuf and rich are loaded by the command
that needs them (`session`), so that help and completion stay quick.
"""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from controlplane.cli import (
    audit,
    authority,
    check,
    daemons,
    demo_command,
    federation,
    node,
    output,
    policy,
    resource,
    session,
    setup,
    site,
    status,
    token,
    workload,
)
from controlplane.cli.errors import CliError

app = typer.Typer(
    name="writ",
    help="Zero-trust mesh for decentralised AI: who may ask what of which model, where, until when.",
    epilog="Start with `writ demo`. Exit codes: 0 ok, 1 failed, 2 usage, 3 denied, 4 not found, 5 conflict, "
    "6 unreachable, 7 verification failed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

HOISTED = {"--context": True, "--output": True, "-o": True, "--timeout": True, "--yes": False, "-y": False}
"""Global options, and whether they take a value: accepted anywhere on the line."""


@app.callback()
def options(
    context: Annotated[str | None, typer.Option(help="Control plane to talk to (WRIT_CONTEXT).")] = None,
    output_format: Annotated[
        session.Format, typer.Option("--output", "-o", help="How to print.")
    ] = session.Format.table,
    timeout: Annotated[float, typer.Option(help="Seconds one call may take.", min=0.1, max=3600)] = 15.0,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask before what cannot be undone.")
    ] = False,
) -> None:
    session.options = session.Options(context=context, output=output_format, timeout_s=timeout, yes=yes)


for noun, sub in {
    "site": site.app,
    "token": token.app,
    "node": node.app,
    "workload": workload.app,
    "authority": authority.app,
    "bundle": authority.bundle,
    "federation": federation.app,
    "resource": resource.app,
    "policy": policy.app,
    "audit": audit.app,
    "controlplane": daemons.controlplane,
    "agent": daemons.agent,
}.items():
    app.add_typer(sub, name=noun)

COMMANDS: dict[str, Callable[..., None]] = {
    "init": setup.init,
    "status": status.status,
    "check": check.check,
    "version": status.version,
    "demo": demo_command.demo,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


def hoist(argv: list[str]) -> list[str]:
    """Move global options to the front, so that `writ node list -o json` works like `writ -o json node list`."""
    front: list[str] = []
    rest: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word.split("=", 1)[0] in HOISTED:
            front.append(word)
            if HOISTED[word.split("=", 1)[0]] and "=" not in word:
                front += [value for value in [next(words, None)] if value is not None]
        else:
            rest.append(word)
    return front + rest


def run() -> None:
    """Entry point of the console script."""
    try:
        app(args=hoist(sys.argv[1:]))
    except CliError as exc:
        output.error(exc.message, exc.hint)
        sys.exit(exc.code)
    except BrokenPipeError:
        sys.exit(0)
