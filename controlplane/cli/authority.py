"""`writ authority`, `writ bundle`: issuing CAs and JWT keys, and what others must believe to verify ours."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import anchors, output, pem, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2
    from controlplane.cli.client import Client

app = typer.Typer(
    help="Authorities: prepare, activate, retire and taint issuing CAs and the keys of JWT-SVIDs.",
    no_args_is_help=True,
)
bundle = typer.Typer(help="The SPIFFE trust bundle of this mesh.", no_args_is_help=True)
CAS = ("node", "control-plane", "workload")
KINDS = (*CAS, "jwt")
NEXT = {
    "requested": "the root signs it within seconds if a replica holds it, else: writ authority prepare --csr FILE",
    "prepared": "next: writ authority activate",
}
Key = Annotated[str, typer.Argument(metavar="KEY", help="Its key id, as `writ authority list` shows it.")]
Kinds = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KIND]...", help="node, control-plane, workload, jwt; else all."),
]


@app.command("list")
def list_authorities() -> None:
    """List authorities: `prepared` is published, `active` signs, `old` is still believed, `tainted` is being replaced."""
    with session.connect() as client:
        anchors.refresh(client)
        found = _all(client)
    if session.wants_json():
        output.emit_json([_document(one) for one in found])
        return
    rows = [
        (one.kind, one.key_id, one.replica, one.state, output.when(one.since), output.when(one.not_after))
        for one in found
    ]
    output.emit_table(("KIND", "KEY", "REPLICA", "STATE", "SINCE", "ENDS"), rows, empty="no authorities")


@app.command()
def prepare(
    kinds: Kinds = None,
    csr: Annotated[
        Path | None,
        typer.Option(help="The root is elsewhere: write what its holder is to sign (`writ root sign`)."),
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="Read what the holder of the root signed.")] = None,
) -> None:
    """Make a new key of each kind at each control plane of the context, and publish it. It signs nothing yet."""
    if certificate is not None:
        _report(_install(pem.read(certificate, pem.CERTIFICATE)))
        return
    wanted = _kinds(kinds, CAS if csr else KINDS)
    made = _prepare(wanted, request=csr is not None)
    if csr is not None:
        pem.write(csr, pem.REQUEST, [one.request for one in made])
        output.note(f"`{csr}` asks the root for `{len(made)}` CAs; where the root is: writ root sign")
    _report(made)


@app.command()
def activate(
    keys: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY]...", help="Else all that are prepared.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even if agents do not know it yet.")] = False,
) -> None:
    """Let prepared authorities sign at their replicas, once every connected agent knows them."""
    with session.connect() as client:
        anchors.refresh(client)
        chosen = keys or [one.key_id for one in _all(client) if one.state == "prepared"]
        if not chosen:
            raise CliError("nothing is prepared", code=Exit.CONFLICT, hint="writ authority prepare")
        made = [_activate(client, key, force=force) for key in chosen]
    if session.wants_json():
        output.emit_json([_document(one) for one in made])
        return
    for one in made:
        _note(one, "what the one before signed is believed until that is retired")


@app.command()
def retire(
    key: Key,
    force: Annotated[
        bool,
        typer.Option("--force", help="Even if it is active, or what it signed lives: that dies at once."),
    ] = False,
) -> None:
    """Stop believing an authority: what it signed is refused from now on."""
    from controlplane.api.gen import admin_pb2

    session.confirm(f"retire `{key}`?")
    with session.connect() as client:
        request = admin_pb2.RetireAuthorityRequest(key_id=key, force=force)
        client.call(client.stub.RetireAuthority, request)
    output.note(f"`{key}` is believed no more")


@app.command()
def taint(
    key: Key,
    now: Annotated[
        bool, typer.Option("--now", help="Believe it no more at once, and break what must break.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say who is affected, and change nothing.")
    ] = False,
) -> None:
    """Its key may be stolen: replace all that it signed within minutes, then believe it no more. Cannot be undone."""
    if not dry_run:
        seen = _taint(key, now=now, dry_run=True)
        _affected(seen)
        session.confirm(f"taint `{key}`?")
    done = _taint(key, now=now, dry_run=dry_run)
    if session.wants_json():
        document = {"authority": _document(done.authority), "within_s": done.within_s, "dry_run": dry_run}
        output.emit_json({**document, "nodes": list(done.nodes), "breaks": list(done.breaks)})
    elif dry_run:
        _affected(done)
        output.note("nothing was changed")
    elif now:
        output.note(f"`{key}` is believed no more")
    else:
        output.note(
            f"`{key}` is tainted; what it signed is replaced within {done.within_s} s: writ authority list"
        )


@bundle.command()
def show(
    everyone: Annotated[
        bool, typer.Option("--all", help="A bundle map: with those of all trust domains we federate with.")
    ] = False,
) -> None:
    """Print the bundle document, for those who federate with this trust domain."""
    from certs import bundle_map
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        document = client.call(client.stub.GetBundle, admin_pb2.GetBundleRequest()).document
        if everyone:
            found = client.call(client.stub.ListFederations, admin_pb2.ListFederationsRequest()).federations
            ours = client.call(client.stub.GetStatus, admin_pb2.GetStatusRequest()).trust_domain
            wanted = [admin_pb2.GetFederationRequest(trust_domain=one.trust_domain) for one in found]
            theirs = [client.call(client.stub.GetFederation, one) for one in wanted]
            held = {one.trust_domain: one.bundle for one in theirs if one.bundle}
            document = bundle_map.dump({ours: document, **held})
    typer.echo(document.decode())


def _prepare(kinds: tuple[str, ...], *, request: bool) -> list["admin_pb2.Authority"]:
    from controlplane.api.gen import admin_pb2

    made = []
    for one in session.connect_each():
        with one as client:
            anchors.refresh(client)
            asked = [admin_pb2.PrepareAuthorityRequest(kind=kind, request=request) for kind in kinds]
            made += [client.call(client.stub.PrepareAuthority, message) for message in asked]
    return made


def _activate(client: "Client", key: str, *, force: bool) -> "admin_pb2.Authority":
    """With `force`, whoever does not know it yet is named, and passed over."""
    from controlplane.api.gen import admin_pb2

    asked = admin_pb2.ActivateAuthorityRequest(key_id=key)
    try:
        made: admin_pb2.Authority = client.call(client.stub.ActivateAuthority, asked)
    except CliError as exc:
        if not force or exc.code is not Exit.CONFLICT:
            raise
        output.note(f"`{key}`: {exc.message}")
        asked.force = True
        made = client.call(client.stub.ActivateAuthority, asked)
    return made


def _install(certificates: list[bytes]) -> list["admin_pb2.Authority"]:
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        asked = [admin_pb2.PrepareAuthorityRequest(certificate=der) for der in certificates]
        return [client.call(client.stub.PrepareAuthority, message) for message in asked]


def _taint(key: str, *, now: bool, dry_run: bool) -> "admin_pb2.TaintAuthorityResponse":
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        request = admin_pb2.TaintAuthorityRequest(key_id=key, now=now, dry_run=dry_run)
        done: admin_pb2.TaintAuthorityResponse = client.call(client.stub.TaintAuthority, request)
        return done


def _all(client: "Client") -> list["admin_pb2.Authority"]:
    from controlplane.api.gen import admin_pb2

    return list(client.call(client.stub.ListAuthorities, admin_pb2.ListAuthoritiesRequest()).authorities)


def _kinds(given: list[str] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    for kind in given or ():
        if kind not in known:
            raise CliError(f"`{kind}` is no kind here", code=Exit.USAGE, hint=f"one of {', '.join(known)}")
    return tuple(given or known)


def _affected(effect: "admin_pb2.TaintAuthorityResponse") -> None:
    one = effect.authority
    output.note(f"`{one.key_id}` ({one.kind}) of replica `{one.replica}` is {one.state}")
    if one.kind == "node":
        named = ", ".join(effect.nodes[:8]) + (", …" if len(effect.nodes) > 8 else "")  # noqa: PLR2004 - a line
        output.note(f"`{len(effect.nodes)}` nodes hold certificates by it" + (f": {named}" if named else ""))
    for line in effect.breaks:
        output.note(f"breaks: {line}")


def _report(made: list["admin_pb2.Authority"]) -> None:
    if session.wants_json():
        output.emit_json([_document(one) for one in made])
        return
    for one in made:
        _note(one, NEXT.get(one.state, ""))


def _note(made: "admin_pb2.Authority", more: str) -> None:
    about = f"`{made.key_id}` ({made.kind}) of replica `{made.replica}` is {made.state}"
    output.note(f"{about}; {more}" if more else about)


def _document(one: "admin_pb2.Authority") -> dict[str, object]:
    names = ("kind", "key_id", "state", "since", "replica", "not_after")
    return {name: getattr(one, name) for name in names}
