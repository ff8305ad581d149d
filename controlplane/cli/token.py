"""`writ token`: join tokens, with which a new node enrols once."""

from pathlib import Path
from typing import Annotated

import typer

from controlplane.api import files
from controlplane.cli import attributes, output, session

app = typer.Typer(help="Join tokens: one use, one node name, ten minutes.", no_args_is_help=True)


@app.command()
def create(
    node: Annotated[str, typer.Argument(help="Node that may enrol with it, `<node>.<site>`.")],
    ttl: Annotated[int, typer.Option(help="Seconds it is good for.", min=10, max=86400)] = 600,
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file, mode 0600, not to the terminal.")
    ] = None,
    tier: attributes.Tier = None,
    group: attributes.Groups = None,
    purpose: attributes.Purposes = None,
    region: attributes.Regions = None,
    class_floor: attributes.Floor = None,
    class_ceiling: attributes.Ceiling = None,
) -> None:
    """Create a join token for one node, and say what that node will be.

    Without attribute options an existing node keeps what it has; a new one has no group and no purpose.
    """
    from controlplane.api.gen import admin_pb2

    name, site = session.split_node(node)
    change = attributes.Change(
        tier=tier,
        groups=group,
        purposes=purpose,
        regions=region,
        class_floor=class_floor,
        class_ceiling=class_ceiling,
    )
    given = change.over(admin_pb2.Attributes()) if change else None
    with session.connect() as client:
        request = admin_pb2.CreateTokenRequest(node=name, site=site, ttl_s=ttl, attributes=given)
        made = client.call(client.stub.CreateToken, request)
    if out is not None:
        files.write(out, f"{made.token}\n".encode())
        output.note(f"token for `{node}` in `{out}`, good until {output.when(made.expires_at)}")
    elif session.wants_json():
        output.emit_json({"token": made.token, "expires_at": made.expires_at, "node": node})
    else:
        typer.echo(made.token)
        output.note(
            f"good once, for `{node}`, until {output.when(made.expires_at)}: writ agent run, join.token_file"
        )
