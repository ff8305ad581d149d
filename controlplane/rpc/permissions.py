"""Who may make which call, and where: the one table. A call without a row is refused.

Roles: `admin` governs; `operator` runs nodes; `auditor` reads everything and changes nothing; `ci` brings policies and resources
from a pipeline. Where a call is bound to sites, the caller's scope must hold them. A call that is bound to none reads; what
it answers is cut down to the caller's sites.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

from controlplane.errors import DeniedError
from controlplane.rpc import narrowing
from controlplane.rpc.narrowing import Narrow
from controlplane.services.admin.grants import ADMIN, AUDITOR, CI, OPERATOR, Grant

ANYBODY = frozenset({ADMIN, OPERATOR, AUDITOR, CI})
GOVERN = frozenset({ADMIN})
RUN = frozenset({ADMIN, OPERATOR})
DELIVER = frozenset({ADMIN, CI})
SERVE = frozenset({ADMIN, OPERATOR, CI})
AUDIT = frozenset({ADMIN, AUDITOR})
Sites = Callable[[Any], Collection[str] | None]
"""The sites that a request is about; none of them: the whole mesh; None: it is bound to no site."""


def free(_: Any) -> None:
    """Bound to no site."""


def mesh(_: Any) -> Collection[str]:
    """Needs the whole mesh."""
    return ()


def site(request: Any) -> Collection[str]:
    return (request.site,)


def site_if_named(request: Any) -> Collection[str] | None:
    return (request.site,) if request.site else None


def resources(request: Any) -> Collection[str] | None:
    """What a group is in concerns every site."""
    if any(one.HasField("within") for one in request.groups):
        return ()
    return {one.site for one in request.resources} or None


def policy(request: Any) -> Collection[str] | None:
    """A dry run touches nothing."""
    return None if request.dry_run else set(request.sites)


def sites(request: Any) -> Collection[str]:
    return set(request.sites)


def selected(request: Any) -> Collection[str]:
    """Of nodes that are to be revoked. What is no name and no site may hit any of them."""
    meant = request.selector
    if meant.nodes:
        return {name.partition(".")[2] for name in meant.nodes}
    return (meant.site,) if meant.site else ()


def granted(request: Any) -> Collection[str]:
    """What a new operator would be given."""
    return set(request.operator.sites)


def caller(request: Any) -> Collection[str]:
    """Of a request that is explained."""
    return (request.caller.partition(".")[2],)


class Kind(Enum):
    """What a call does. What may widen access needs a second operator, where the mesh asks for one (`services.widening`)."""

    READ = "reads"
    CHANGE = "changes"
    WIDEN = "may widen access"


READ, CHANGE, WIDEN = Kind


@dataclass(frozen=True, slots=True)
class Row:
    """One call. `narrow` cuts an answer down to what the caller's sites let him see."""

    roles: frozenset[str]
    sites: Sites
    kind: Kind
    narrow: Narrow = narrowing.nothing


TABLE: dict[str, Row] = {
    # sites and nodes
    "AddSite": Row(GOVERN, mesh, CHANGE),
    "ListSites": Row(ANYBODY, free, READ, narrowing.by("sites", narrowing.name)),
    "CreateToken": Row(RUN, site, WIDEN),
    "ListAttestors": Row(ANYBODY, free, READ),
    "ListNodes": Row(ANYBODY, site_if_named, READ, narrowing.by("nodes")),
    "GetNode": Row(ANYBODY, site, READ),
    "SetNode": Row(RUN, site, WIDEN),
    "RenewNode": Row(RUN, site, CHANGE),
    "RevokeNode": Row(RUN, site, CHANGE),
    "UnrevokeNode": Row(RUN, site, WIDEN),
    "WatchEnforcement": Row(ANYBODY, free, READ, narrowing.enforcement),
    "Revoke": Row(RUN, selected, CHANGE),
    "Quarantine": Row(RUN, site, CHANGE),
    "Release": Row(RUN, site, WIDEN),
    "Unlock": Row(RUN, site, WIDEN),
    # what nodes serve, and their processes
    "ApplyResources": Row(SERVE, resources, WIDEN),
    "ListResources": Row(ANYBODY, site_if_named, READ, narrowing.by("resources")),
    "RegisterWorkload": Row(RUN, site, WIDEN),
    "ListWorkloads": Row(ANYBODY, site_if_named, READ, narrowing.by("workloads")),
    "RemoveWorkload": Row(RUN, site, CHANGE),
    # keys
    "ListAuthorities": Row(ANYBODY, free, READ),
    "PrepareAuthority": Row(GOVERN, mesh, CHANGE),
    "ActivateAuthority": Row(GOVERN, mesh, CHANGE),
    "RetireAuthority": Row(GOVERN, mesh, CHANGE),
    "TaintAuthority": Row(GOVERN, mesh, CHANGE),
    "ListRoots": Row(ANYBODY, free, READ),
    "PrepareRoot": Row(GOVERN, mesh, WIDEN),
    "ActivateRoot": Row(GOVERN, mesh, CHANGE),
    "RetireRoot": Row(GOVERN, mesh, CHANGE),
    "GetAnchors": Row(ANYBODY, free, READ),
    "GetRootRequest": Row(GOVERN, mesh, READ),
    "InstallRootAnswer": Row(GOVERN, mesh, CHANGE),
    "GetBundle": Row(ANYBODY, free, READ),
    "GetCrls": Row(ANYBODY, free, READ),
    # other trust domains
    "AddFederation": Row(GOVERN, mesh, WIDEN),
    "ListFederations": Row(ANYBODY, free, READ),
    "GetFederation": Row(ANYBODY, free, READ),
    "RemoveFederation": Row(GOVERN, mesh, CHANGE),
    # policies
    "LintPolicy": Row(ANYBODY, free, READ),
    "ApplyPolicy": Row(DELIVER, policy, WIDEN),
    "PromotePolicy": Row(DELIVER, sites, WIDEN),
    "RollbackPolicy": Row(DELIVER, mesh, WIDEN),
    "WithdrawPolicy": Row(DELIVER, mesh, CHANGE),
    "GetPolicyStatus": Row(ANYBODY, free, READ, narrowing.by("nodes", narrowing.of_short_name)),
    "GetPolicy": Row(ANYBODY, free, READ),
    "ListPolicies": Row(ANYBODY, free, READ),
    "ExplainPolicy": Row(ANYBODY, caller, READ),
    "DescribeBundle": Row(ANYBODY, site, READ),
    # the mesh as a whole
    "GetStatus": Row(ANYBODY, free, READ, narrowing.by("nodes")),
    "GetOverview": Row(ANYBODY, free, READ, narrowing.overview),
    "ListWitnessed": Row(AUDIT | RUN, free, READ, narrowing.by("logs", narrowing.of_spiffe_id)),
    "ReadEvidence": Row(AUDIT, mesh, READ),
    # operators; what they have already is compared in `services.operators`
    "AddOperator": Row(GOVERN, granted, WIDEN),
    "SetOperator": Row(GOVERN, sites, WIDEN),
    "RemoveOperator": Row(GOVERN, free, CHANGE),
    "RenewOperator": Row(ANYBODY, free, WIDEN),
    "ListOperators": Row(AUDIT, free, READ, narrowing.operators),
    # approvals; who approves must be permitted the call itself (`rpc.approvals_api`)
    "SetApproval": Row(GOVERN, mesh, WIDEN),
    "ListApprovals": Row(AUDIT | RUN, free, READ),
    "ApproveCall": Row(RUN, free, CHANGE),
    "RejectCall": Row(RUN, free, CHANGE),
}


def check(call: str, request: Any, grant: Grant) -> Row:
    """The row by which this caller may make this call; DeniedError says which part of it is missing."""
    row = TABLE.get(call)
    if row is None:
        raise DeniedError(f"nobody is permitted to call `{call}`")
    if grant.role not in row.roles:
        raise DeniedError(
            f"`{grant.name}` is {grant.role}, and `{call}` is for {_listed(row.roles)}",
            hint="writ operator list",
        )
    bound = row.sites(request)
    if bound is not None:
        grant.check_holds(bound)
    return row


def _listed(roles: Iterable[str]) -> str:
    return ", ".join(sorted(roles))
