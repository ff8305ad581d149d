"""`writ login`: sign in at the identity provider of the mesh, on any device, and keep the token it gives."""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import output, session


def login(
    issuer: Annotated[str, typer.Option(help="URL of the issuer, as the control plane has it.")] = "",
    client_id: Annotated[str, typer.Option(help="Client of the issuer, as the control plane has it.")] = "",
    address: Annotated[
        str, typer.Option(help="host:port where operators with tokens call (`oidc.listen`).")
    ] = "",
    trust_domain: Annotated[str, typer.Option(help="Name of the mesh.")] = "",
    ca: Annotated[Path | None, typer.Option(help="PEM: whom to believe as the control plane.")] = None,
    issuer_ca: Annotated[Path | None, typer.Option(help="PEM: whom to believe as the issuer.")] = None,
    scope: Annotated[str, typer.Option(help="What to ask the issuer for.")] = "openid groups",
) -> None:
    """Sign in, with the device flow of OpenID Connect: open an address anywhere, enter a code.

    The first time say where: --issuer, --client-id, --address, --trust-domain and --ca. They are kept in the context; later
    `writ login` is enough. The token is kept with mode 0600 and is good for an hour or so.
    """
    from controlplane.cli import signing_in

    given = {
        "issuer": issuer,
        "client_id": client_id,
        "address": address,
        "trust_domain": trust_domain,
        "issuer_ca": str(issuer_ca.resolve()) if issuer_ca else "",
    }
    place = signing_in.place(session.options.context, {k: v for k, v in given.items() if v}, ca)
    until = signing_in.sign_in(place, scope, output.note)
    output.note(f"signed in until {output.when(until)}: context `{place.context}`")
