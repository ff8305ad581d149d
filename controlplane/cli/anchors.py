"""Whom a context believes as a control plane: kept as new as the mesh's, so that a rotated CA locks no operator out.

What is written comes from a control plane that the context believes already, over mTLS. New CAs are published long before
they are used: asking once an hour is more than enough.
"""

import contextlib
import os
import time
from typing import TYPE_CHECKING

from controlplane.cli import pem
from controlplane.cli.errors import CliError

if TYPE_CHECKING:
    from controlplane.cli.client import Client

EVERY_S = 3600


def refresh_if_old(client: "Client") -> None:
    """Ask, if that was long ago. Costs one call an hour."""
    if time.time() - client.context.ca.stat().st_mtime > EVERY_S:
        with contextlib.suppress(CliError):  # the command itself says what is wrong
            refresh(client)


def refresh(client: "Client") -> None:
    """Believe all control-plane CAs of the trust document, and no others."""
    from controlplane.api.gen import admin_pb2

    path = client.context.ca
    cas = list(client.call(client.stub.GetAnchors, admin_pb2.GetAnchorsRequest()).control_plane_cas)
    if not cas:
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pem.write(temporary, pem.CERTIFICATE, cas)
    temporary.chmod(0o600)
    temporary.replace(path)
