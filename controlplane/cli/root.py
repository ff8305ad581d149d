"""`writ root`: for whoever holds the root: sign what replicas request, keep it in a safe, take it out again.

These only start `python -I -m controlplane`: the command itself never holds a key.
"""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import session
from controlplane.cli.daemons import Passphrase, RootDir, become

app = typer.Typer(help="The root of trust: sign requests, back it up, restore it.", no_args_is_help=True)


@app.command()
def sign(
    csr: Annotated[Path, typer.Option(help="What `writ authority prepare --csr` wrote.")],
    certificate: Annotated[Path, typer.Option(help="Where the certificates go.")],
    root: RootDir,
    root_passphrase_file: Passphrase = None,
    days: Annotated[int, typer.Option(help="How long the CAs live.", min=1, max=366)] = 30,
) -> None:
    """Where the root is: sign the CAs that replicas request. Then: writ authority prepare --certificate FILE."""
    words = ["--root", str(root), "--csr", str(csr), "--certificate", str(certificate), "--days", str(days)]
    become("controlplane", "root-sign", *words, *_of("--root-passphrase-file", root_passphrase_file))


@app.command()
def backup(
    out: Annotated[Path, typer.Option(help="Where the sealed root goes; never overwritten.")],
    root: RootDir,
    root_passphrase_file: Passphrase = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="Of the backup; else you are asked.")] = None,
    shares: Annotated[int, typer.Option(help="Instead of a passphrase: so many shares,", min=0, max=255)] = 0,
    threshold: Annotated[int, typer.Option(help="any so many of which open it.", min=0, max=255)] = 0,
    remove: Annotated[
        bool, typer.Option("--remove", help="Then take the root's key out of its directory: it is offline.")
    ] = False,
) -> None:
    """Seal the root into a file. With `--shares`, each share is a file beside it: carry them to different places."""
    if remove:
        session.confirm(f"remove the root's key from `{root}` once it is backed up?")
    words = ["--root", str(root), "--out", str(out), "--shares", str(shares), "--threshold", str(threshold)]
    words += [
        *_of("--root-passphrase-file", root_passphrase_file),
        *_of("--passphrase-file", passphrase_file),
    ]
    become("controlplane", "root-backup", *words, *(("--remove",) if remove else ()))


@app.command()
def restore(
    backup: Annotated[Path, typer.Argument(help="The sealed root.")],
    root: RootDir,
    root_passphrase_file: Passphrase = None,
    passphrase_file: Annotated[Path | None, typer.Option(help="Of the backup; else you are asked.")] = None,
    share: Annotated[list[Path] | None, typer.Option(help="A share; as often as shares are needed.")] = None,
) -> None:
    """Take the root out of a backup, into a directory that `--root` can name, or back to the replica that it came from."""
    words = ["--root", str(root), "--backup", str(backup)]
    words += [
        *_of("--root-passphrase-file", root_passphrase_file),
        *_of("--passphrase-file", passphrase_file),
    ]
    words += [word for one in share or () for word in ("--share", str(one))]
    become("controlplane", "root-restore", *words)


def _of(option: str, path: Path | None) -> tuple[str, ...]:
    return (option, str(path)) if path else ()
