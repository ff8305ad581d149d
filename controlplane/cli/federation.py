"""`writ federation`: relationships with other trust domains, whose bundles workloads are given."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli import output, session
from controlplane.cli.errors import CliError, Exit

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

app = typer.Typer(
    help="Federation: let workloads verify identities of other trust domains.", no_args_is_help=True
)
Domain = Annotated[str, typer.Argument(metavar="TRUST_DOMAIN", help="Such as `partner.example`.")]


@app.command()
def add(
    trust_domain: Domain,
    url: Annotated[str, typer.Option(help="Its bundle endpoint, https://…")],
    endpoint_id: Annotated[
        str, typer.Option(help="https_spiffe: the SPIFFE ID of the endpoint. Without: https_web.")
    ] = "",
    bundle: Annotated[
        Path | None, typer.Option(help="Its bundle, or a bundle map that holds it: what to begin with.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put this in the place of another.")] = False,
) -> None:
    """Begin to fetch the bundle of another trust domain. It is given to workloads registered with `--federates-with`."""
    from controlplane.api.gen import admin_pb2

    wanted = admin_pb2.Federation(
        trust_domain=trust_domain,
        url=url,
        profile="https_spiffe" if endpoint_id else "https_web",
        endpoint_id=endpoint_id,
        bundle=_bundle(bundle, trust_domain) if bundle else b"",
    )
    with session.connect() as client:
        request = admin_pb2.AddFederationRequest(federation=wanted, replace=replace)
        made = client.call(client.stub.AddFederation, request)
    if session.wants_json():
        output.emit_json(_document(made))
    else:
        output.note(f"`{trust_domain}` is fetched from {made.url}; see `writ federation show {trust_domain}`")


@app.command("list")
def list_federations() -> None:
    """List relationships, and under what name we serve our own bundle."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.ListFederations, admin_pb2.ListFederationsRequest())
    if session.wants_json():
        output.emit_json(
            {
                "federations": [_fields(one) for one in found.federations],
                "own_profile": found.profile,
                "own_endpoint_id": found.endpoint_id,
            }
        )
        return
    rows = [(one.trust_domain, one.profile, _standing(one), one.url) for one in found.federations]
    empty = "no federations yet: `writ federation add TRUST_DOMAIN --url URL`"
    output.emit_table(("TRUST DOMAIN", "PROFILE", "BUNDLE", "URL"), rows, empty=empty)
    if found.profile:
        output.note(f"our own bundle is served by {found.profile} {found.endpoint_id}".rstrip())


@app.command()
def show(trust_domain: Domain) -> None:
    """Show a relationship, whom its bundle believes, and how fetching goes."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        request = admin_pb2.GetFederationRequest(trust_domain=trust_domain)
        document = _document(client.call(client.stub.GetFederation, request))
    if session.wants_json():
        output.emit_json(document)
        return
    held = document.pop("bundle") or {}
    keys = held.get("keys", [])
    uses = [sum(key.get("use") == use for key in keys) for use in ("x509-svid", "jwt-svid")]
    times = {
        name: output.when(document[name]) if document[name] else "never" for name in ("since", "answered_at")
    }
    output.emit_fields(
        {
            **document,
            **times,
            "roots": uses[0],
            "jwt keys": uses[1],
            "sequence": held.get("spiffe_sequence", "-"),
        }
    )


@app.command()
def remove(trust_domain: Domain) -> None:
    """End a relationship: its bundle is taken from every workload at once."""
    from controlplane.api.gen import admin_pb2

    session.confirm(f"end the federation with `{trust_domain}`?")
    with session.connect() as client:
        client.call(client.stub.RemoveFederation, admin_pb2.GetFederationRequest(trust_domain=trust_domain))
    output.note(f"`{trust_domain}` is believed no more")


def _bundle(path: Path, trust_domain: str) -> bytes:
    """A bundle from a file; of a bundle map the one of this trust domain."""
    from certs import bundle_map
    from certs.errors import BundleError

    try:
        data = path.read_bytes()
        if bundle_map.NAME not in json.loads(data):
            return data
        return bundle_map.load(data).documents[trust_domain]
    except KeyError as exc:
        raise CliError(f"`{path}` holds no bundle of `{trust_domain}`", code=Exit.USAGE) from exc
    except (OSError, ValueError, TypeError, BundleError) as exc:
        raise CliError(f"`{path}` cannot be read: {exc}", code=Exit.USAGE) from exc


def _standing(one: "admin_pb2.Federation") -> str:
    held = f"since {output.when(one.since)}" if one.since else "none yet"
    return f"{held}; {one.error}" if one.error else held


def _fields(one: "admin_pb2.Federation") -> dict[str, Any]:
    names = ("trust_domain", "url", "profile", "endpoint_id", "since", "answered_at", "error")
    return {name: getattr(one, name) for name in names}


def _document(one: "admin_pb2.Federation") -> dict[str, Any]:
    return {**_fields(one), "bundle": json.loads(one.bundle) if one.bundle else None}
