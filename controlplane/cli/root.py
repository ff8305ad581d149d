"""`writ root`: for whoever holds the root: sign what replicas request, keep it in a safe, take it out again.

What needs the root only starts `python -I -m controlplane`: the command itself never holds a key. `request` and `install` are of
operators, and ask a control plane.
"""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import documents, output, root_rotate, session
from controlplane.cli.daemons import Passphrase, RootDir, become

app = typer.Typer(
    help="The root of trust: sign requests, back it up, restore it, replace it.", no_args_is_help=True
)
app.add_typer(root_rotate.app, name="rotate")


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
def request(
    out: Annotated[
        Path, typer.Option(help="What the holder of the root is to sign again: `writ root renew`.")
    ],
) -> None:
    """Ask the root for another year of its delegation of document keys, and for the list of revoked CAs as of now."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        paper = client.call(client.stub.GetRootRequest, admin_pb2.GetRootRequestRequest())
    out.write_text(paper.text)
    output.note(f"where the root is: writ root renew --root DIR --request {out} --answer FILE")


@app.command()
def renew(
    request: Annotated[Path, typer.Option(help="What `writ root request` wrote.")],
    answer: Annotated[Path, typer.Option(help="What `writ root install` is to take.")],
    root: RootDir,
    root_passphrase_file: Passphrase = None,
    crl_days: Annotated[
        int, typer.Option(help="How long the list of revoked CAs holds.", min=1, max=366)
    ] = 180,
) -> None:
    """Where the root is: sign the delegation of document keys, and the list of revoked CAs, again. It says what it signs."""
    words = ["--root", str(root), "--request", str(request), "--answer", str(answer)]
    words += ["--crl-days", str(crl_days)]
    become("controlplane", "root-renew", *words, *_of("--root-passphrase-file", root_passphrase_file))


@app.command()
def install(answer: Annotated[Path, typer.Argument(help="What `writ root renew` wrote.")]) -> None:
    """Publish what the root signed again, to every control plane and agent."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        paper = admin_pb2.RootPaper(text=documents.read_text(answer))
        done = client.call(client.stub.InstallRootAnswer, paper)
    if session.wants_json():
        names = ("delegation", "delegation_until", "crl_until", "revoked")
        output.emit_json({name: getattr(done, name) for name in names})
        return
    output.note(f"delegation {done.delegation} holds until {output.when(done.delegation_until)}")
    output.note(f"the list of {done.revoked} revoked CAs holds until {output.when(done.crl_until)}")


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
