"""`writ bundle crl`: the revocation lists, for verifiers that know nothing of Writ."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli import output, session


def crl(
    out: Annotated[Path | None, typer.Option(help="Write them here, whole or not at all.")] = None,
) -> None:
    """Print the lists of every control plane's CAs, PEM, fresh, and the root's of CAs that count no more.

    Those of CAs hold for an hour: fetch them more often. The root's says until when it holds.
    """
    from certs.crl import pem
    from controlplane.api.gen import revocation_pb2

    found: list[bytes] = []
    for one in session.connect_each():
        with one as client:
            found += client.call(client.revocation.GetCrls, revocation_pb2.GetCrlsRequest()).crls
    found = list(dict.fromkeys(found))  # the root's is the same everywhere
    text = pem(found)
    if out is None:
        sys.stdout.write(text.decode())
        return
    temporary = out.with_name(f".{out.name}.new")
    temporary.write_bytes(text)
    temporary.replace(out)
    output.note(f"{len(found)} lists in `{out}`")
