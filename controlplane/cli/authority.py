"""`writ authority`, `writ bundle`: the keys that sign JWT-SVIDs, and what others must believe to verify ours."""

from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli import output, session

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(
    help="Authorities: prepare, activate and retire the keys of JWT-SVIDs.", no_args_is_help=True
)
bundle = typer.Typer(help="The SPIFFE trust bundle of this mesh.", no_args_is_help=True)
Key = Annotated[str, typer.Argument(metavar="KEY", help="Its key id, as `writ authority list` shows it.")]


@app.command("list")
def list_authorities() -> None:
    """List keys: `prepared` is published, `active` signs, `old` is still believed."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListAuthorities, admin_pb2.ListAuthoritiesRequest()).authorities
    if session.wants_json():
        output.emit_json([_document(one) for one in found])
        return
    rows = [(one.kind, one.key_id, one.replica, one.state, output.when(one.since)) for one in found]
    output.emit_table(("KIND", "KEY", "REPLICA", "STATE", "SINCE"), rows, empty="no authorities")


@app.command()
def prepare() -> None:
    """Make a key at each control plane of the context, and publish it. It signs nothing yet."""
    from controlplane.api.gen import admin_pb2

    made = []
    for one in session.connect_each():
        with one as client:
            made.append(client.call(client.stub.PrepareAuthority, admin_pb2.PrepareAuthorityRequest()))
        if not session.wants_json():
            _note(made[-1], f"next: writ authority activate {made[-1].key_id}")
    if session.wants_json():
        output.emit_json([_document(one) for one in made])


@app.command()
def activate(
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Even if agents do not know it yet.")] = False,
) -> None:
    """Let a prepared key sign at its replica, once every connected agent knows it."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        request = admin_pb2.ActivateAuthorityRequest(key_id=key, force=force)
        made = client.call(client.stub.ActivateAuthority, request)
    if session.wants_json():
        output.emit_json(_document(made))
    else:
        _note(made, "tokens of the key before are believed until it is retired")


@app.command()
def retire(
    key: Key,
    force: Annotated[bool, typer.Option("--force", help="Even if it is active: its tokens die.")] = False,
) -> None:
    """Stop believing a key: tokens that it signed are refused from now on."""
    from controlplane.api.gen import admin_pb2

    session.confirm(f"retire `{key}`?")
    with session.connect() as client:
        request = admin_pb2.RetireAuthorityRequest(key_id=key, force=force)
        client.call(client.stub.RetireAuthority, request)
    output.note(f"`{key}` is believed no more")


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


def _note(made: "admin_pb2.Authority", more: str) -> None:
    output.note(f"`{made.key_id}` of replica `{made.replica}` is {made.state}; {more}")


def _document(one: "admin_pb2.Authority") -> dict[str, object]:
    return {name: getattr(one, name) for name in ("kind", "key_id", "replica", "state", "since")}
