"""`writ site`: data centres and the jurisdiction each is in."""

from typing import Annotated

import typer

from controlplane.cli import output, session
from controlplane.cli.errors import CliError, Exit

app = typer.Typer(help="Sites: a data centre, its jurisdiction and labels.", no_args_is_help=True)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="DNS label, such as `paris`.")],
    jurisdiction: Annotated[str, typer.Option(help="ISO 3166-1 alpha-2 code, such as FR.")],
    label: Annotated[list[str] | None, typer.Option(help="key=value; may be repeated.")] = None,
) -> None:
    """Add a site. Adding the same site again changes nothing."""
    from controlplane.api.gen import admin_pb2

    labels = dict(_pair(item) for item in label or [])
    with session.connect() as client:
        site = client.call(
            client.stub.AddSite, admin_pb2.Site(name=name, jurisdiction=jurisdiction.upper(), labels=labels)
        )
    if session.wants_json():
        output.emit_json(_document(site))
    else:
        output.note(f"site `{site.name}` is in {site.jurisdiction}")


@app.command("list")
def list_sites() -> None:
    """List sites."""
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        sites = client.call(client.stub.ListSites, admin_pb2.ListSitesRequest()).sites
    if session.wants_json():
        output.emit_json([_document(site) for site in sites])
        return
    rows = [
        (s.name, s.jurisdiction, ",".join(f"{k}={v}" for k, v in sorted(s.labels.items()))) for s in sites
    ]
    output.emit_table(
        ("SITE", "JURISDICTION", "LABELS"), rows, empty="no sites yet: `writ site add NAME --jurisdiction FR`"
    )


def _pair(item: str) -> tuple[str, str]:
    key, equals, value = item.partition("=")
    if not (key and equals):
        raise CliError(f"label `{item}` is not key=value", code=Exit.USAGE)
    return key, value


def _document(site: object) -> dict[str, object]:
    return {"name": site.name, "jurisdiction": site.jurisdiction, "labels": dict(site.labels)}  # type: ignore[attr-defined]
