"""Policies named on a command line: a file, a directory, or the number of a version that was applied."""

from pathlib import Path

from controlplane.cli import policy_input, session
from policies.syntax import Policy

NONE = "-"


def read(path: Path) -> tuple[Policy, ...]:
    """`-` is no policy at all, so that everything is denied; 0 is the version in force."""
    if str(path) == NONE:
        return ()
    if str(path).isdigit() and not path.exists():
        return applied(int(str(path)))
    return policy_input.policies([path])


def applied(version: int) -> tuple[Policy, ...]:
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found = client.call(client.stub.GetPolicy, admin_pb2.GetPolicyRequest(version=version))
    return policy_input.parsed({file.name: file.text for file in found.source.files})
