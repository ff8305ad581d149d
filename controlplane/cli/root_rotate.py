"""`writ root rotate`: replace the root of a mesh at work. The old root vouches for the next; a control plane only hands it on.

What needs a key of a root is a ceremony where the root is (`prepare --root`, `sign`); the rest asks the control plane.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import anchors, output, session
from controlplane.cli.daemons import Passphrase, RootDir, become
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from controlplane.api.gen import admin_pb2

app = typer.Typer(
    help="Replace the root: prepare, activate, retire; nobody asks twice.", no_args_is_help=True
)
NAMED = 8
Force = Annotated[bool, typer.Option("--force", help="Whomever it leaves behind: they are named.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what it waits for, and change nothing.")]


@app.command("list")
def list_roots() -> None:
    """List the roots: `prepared` is believed, `active` signs, `old` is still believed, `retired` no more."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListRoots, admin_pb2.ListRootsRequest()).roots
    if session.wants_json():
        output.emit_json([_document(one) for one in found])
        return
    rows = [
        (
            one.version,
            _sha256(one.certificate)[:16],
            one.state,
            output.when(one.since) if one.since else "",
            output.when(one.not_after),
        )
        for one in found
    ]
    output.emit_table(("VERSION", "SHA256", "STATE", "SINCE", "ENDS"), rows)


@app.command()
def prepare(
    root: Annotated[Path | None, typer.Option(help="Where the root is: make the next one there.")] = None,
    root_passphrase_file: Passphrase = None,
    out: Annotated[Path | None, typer.Option(help="Where the change goes; it is public.")] = None,
    change: Annotated[Path | None, typer.Option(help="Hand this change on to every agent.")] = None,
    dry_run: DryRun = False,
) -> None:
    """Where the root is: `--root DIR --out FILE` makes the next one. Then `--change FILE`: everybody believes both."""
    from controlplane.api.gen import admin_pb2

    if (root is None) is (change is None) or (root is None) is not (out is None):
        hint = "--root DIR --out FILE where the root is, then --change FILE"
        raise CliError("make the next root, or hand it on?", code=Exit.USAGE, hint=hint)
    if root is not None and out is not None:
        become("controlplane", "root-prepare", *_ceremony(root, root_passphrase_file, out))
    elif change is not None:
        request = admin_pb2.PrepareRootRequest(change=_read(change), dry_run=dry_run)
        with session.connect() as client:
            done = client.call(client.stub.PrepareRoot, request)
        _report(
            done,
            dry_run=dry_run,
            more="back the next root up (writ root backup); then: writ root rotate activate",
        )


@app.command()
def sign(
    request: Annotated[Path, typer.Option(help="What `activate --request` wrote.")],
    out: Annotated[Path, typer.Option(help="Where the delegation by the next root goes; it is public.")],
    root: RootDir,
    root_passphrase_file: Passphrase = None,
) -> None:
    """Where the root is: let the next root sign, from now on. Then: writ root rotate activate --delegation FILE."""
    words = _ceremony(root, root_passphrase_file, out)
    become("controlplane", "root-delegate", "--request", str(request), *words)


@app.command()
def activate(
    request: Annotated[
        Path | None,
        typer.Option(help="The root is elsewhere: write what it is to sign (`writ root rotate sign`)."),
    ] = None,
    delegation: Annotated[Path | None, typer.Option(help="Read what the next root signed.")] = None,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Let the next root sign, once every connected agent believes it. Issuing CAs are replaced by themselves then."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        if request is not None:
            newest = client.call(client.stub.ListRoots, admin_pb2.ListRootsRequest()).delegation
            _write(request, newest)
            output.note(f"`{request}` is for the next root; where it is: writ root rotate sign")
            return
        given = _read(delegation) if delegation else b""
        asked = admin_pb2.ActivateRootRequest(delegation=given, force=force, dry_run=dry_run)
        done = client.call(client.stub.ActivateRoot, asked)
        anchors.refresh(client)
    _report(done, dry_run=dry_run, more="CAs below the old root are replaced now: writ authority list")


@app.command()
def retire(force: Force = False, dry_run: DryRun = False) -> None:
    """Believe the old root no more, once nothing is left below it. Join tokens name the new one from now on."""
    from controlplane.api.gen import admin_pb2

    if not dry_run:
        session.confirm("believe the old root no more?")
    with session.connect() as client:
        asked = admin_pb2.RetireRootRequest(force=force, dry_run=dry_run)
        done = client.call(client.stub.RetireRoot, asked)
    _report(
        done,
        dry_run=dry_run,
        more="the old root's key may be destroyed; give `join.root_sha256` the new hash",
    )


def _ceremony(root: Path, passphrase_file: Path | None, out: Path) -> list[str]:
    words = ["--root", str(root), "--out", str(out)]
    return words + (["--root-passphrase-file", str(passphrase_file)] if passphrase_file else [])


def _report(done: "admin_pb2.RootEffect", *, dry_run: bool, more: str) -> None:
    cas = [f"{one.key_id} ({one.kind} of {one.replica})" for one in done.cas]
    if session.wants_json():
        found = [_document(one) for one in done.roots]
        output.emit_json({"roots": found, "behind": list(done.behind), "below_old": cas, "dry_run": dry_run})
        return
    for one in done.roots:
        output.note(f"root {one.version} `{_sha256(one.certificate)[:16]}` is {one.state}")
    if done.behind:
        output.note(f"do not know the change yet: {_named(done.behind)}")
    if cas:
        output.note(f"below the old root: {_named(cas)}")
    output.note("nothing was changed" if dry_run else more)


def _named(names: "Sequence[str]") -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _document(one: "admin_pb2.Root") -> dict[str, object]:
    facts = {name: getattr(one, name) for name in ("version", "state", "since", "not_after")}
    return {**facts, "sha256": _sha256(one.certificate)}


def _sha256(der: bytes) -> str:
    import hashlib

    return hashlib.sha256(der).hexdigest()


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise CliError(f"cannot read `{path}`: {exc.strerror}") from exc


def _write(path: Path, data: bytes) -> None:
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise CliError(f"cannot write `{path}`: {exc.strerror}") from exc
