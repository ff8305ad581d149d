"""Policies named on a command line: a file, a directory, or the number of a version that was applied."""

from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli import policy_input, session
from policies.syntax import Policy

if TYPE_CHECKING:
    from controlplane.api.gen import admin_pb2

NONE = "-"


def read(path: Path) -> tuple[Policy, ...]:
    """`-` is no policy at all, so that everything is denied; 0 is the version in force."""
    if str(path) == NONE:
        return ()
    if str(path).isdigit() and not path.exists():
        return applied(int(str(path)))
    return policy_input.policies([path])


def applied(version: int) -> tuple[Policy, ...]:
    """As it was written, wherever it holds."""
    return _parsed(_get(version))


def at_both_ends(version: int, caller_site: str, callee_site: str) -> list[tuple[Policy, ...]]:
    """What the caller's end enforces, and the callee's where a version that is limited to sites makes it another."""
    sources = {_at(version, site).version: _at(version, site) for site in (caller_site, callee_site)}
    return [_parsed(found) for found in sources.values()]


def _at(version: int, site: str) -> "admin_pb2.PolicySet":
    """A version without files stands for a site where nothing was ever applied."""
    from controlplane.api.gen import admin_pb2

    found = _get(version)
    while found.sites and site not in found.sites:
        found = _get(found.base) if found.base else admin_pb2.PolicySet()
    return found


def _get(version: int) -> "admin_pb2.PolicySet":
    from controlplane.api.gen import admin_pb2

    with session.connect() as client:
        found: admin_pb2.PolicySet = client.call(
            client.stub.GetPolicy, admin_pb2.GetPolicyRequest(version=version)
        )
    return found


def _parsed(found: "admin_pb2.PolicySet") -> tuple[Policy, ...]:
    return policy_input.parsed({file.name: file.text for file in found.source.files})
