"""Rows and states to messages, and back. No decision is made here."""

from dataclasses import asdict

from certs.attributes import DIGIT_MAX, Attributes
from certs.errors import CertError
from controlplane import model
from controlplane.api.gen import admin_pb2, enrolment_pb2, sync_pb2
from controlplane.attest.base import JOIN_TOKEN, KUBERNETES, X509POP, Evidence
from controlplane.errors import InvalidError
from controlplane.model import NodeRow, ResourceRow, SiteRow
from controlplane.services.identity.attestation import Configured
from controlplane.services.policy.resources import Declared
from controlplane.services.push.hub import AgentState, Difference, Shadow
from policies.errors import Finding


def attributes(message: admin_pb2.Attributes) -> Attributes:
    try:
        return Attributes(
            tier=message.tier if message.HasField("tier") else DIGIT_MAX,
            groups=frozenset(message.groups),
            purposes=frozenset(message.purposes),
            regions=frozenset(message.regions),
            class_floor=message.class_floor,
            class_ceiling=message.class_ceiling,
        )
    except CertError as exc:
        raise InvalidError(str(exc)) from exc


def evidence(message: enrolment_pb2.AttestationEvidence, csr: bytes, join_token: str = "") -> Evidence | None:
    """What a caller shows for `csr`; None when it shows nothing. InvalidError: both a join token and something else."""
    kind = message.WhichOneof("kind")
    if kind is None:
        return Evidence(kind=JOIN_TOKEN, csr=csr, bearer=join_token) if join_token else None
    if join_token:
        raise InvalidError("a join token and other evidence do not go together")
    if kind == KUBERNETES:
        return Evidence(kind=KUBERNETES, csr=csr, bearer=message.kubernetes)
    proof = message.x509pop
    return Evidence(
        kind=X509POP, csr=csr, chain=tuple(proof.chain), nonce=proof.nonce, signature=proof.signature
    )


def attestor(kind: str, known: Configured) -> admin_pb2.Attestor:
    return admin_pb2.Attestor(kind=kind, tier=known.tier, reattest_s=known.reattest_s, facts=known.facts)


def site(row: SiteRow) -> admin_pb2.Site:
    return admin_pb2.Site(name=row.name, jurisdiction=row.jurisdiction, labels=row.labels)


def node(row: NodeRow, state: AgentState | None) -> admin_pb2.Node:
    message = admin_pb2.Node(
        spiffe_id=str(row.spiffe_id),
        node=row.node,
        site=row.site,
        jurisdiction=row.jurisdiction,
        attributes=admin_pb2.Attributes(
            tier=row.tier,
            groups=row.groups,
            purposes=row.purposes,
            regions=row.regions,
            class_floor=row.class_floor,
            class_ceiling=row.class_ceiling,
        ),
        epoch=row.epoch,
        floor=0 if row.state in model.SHUT_OUT else row.floor,
        state=row.state,
        reason=row.reason,
        address=row.address,
        serial=row.serial,
        not_after=row.not_after,
        attested_by=row.attested_by,
        attested_at=row.attested_at,
        tier=row.effective_tier,
    )
    if state is not None:
        for name in (
            "connected",
            "generation",
            "policy_version",
            "last_seen",
            "agent_version",
            "envoy_version",
        ):
            setattr(message, name, getattr(state, name))
        message.lease_until, message.error = state.lease_until, state.error
        message.not_cut.extend(state.not_cut)
    return message


def resource_row(message: admin_pb2.Resource) -> ResourceRow:
    return ResourceRow(
        kind=message.kind,
        name=message.name,
        node=message.node,
        site=message.site,
        groups=sorted(set(message.groups)),
        owner=message.owner,
        max_class=message.max_class,
        port=message.port,
    )


def resource(row: ResourceRow) -> admin_pb2.Resource:
    return admin_pb2.Resource(
        kind=row.kind,
        name=row.name,
        node=row.node,
        site=row.site,
        groups=row.groups,
        owner=row.owner,
        max_class=row.max_class,
        port=row.port,
    )


def group_declared(message: admin_pb2.Group) -> Declared:
    within = tuple(message.within.groups) if message.HasField("within") else None
    return Declared(message.kind, message.name, within)


def group(one: Declared) -> admin_pb2.Group:
    within = admin_pb2.Within(groups=one.within) if one.within else None
    return admin_pb2.Group(kind=one.kind, name=one.name, within=within)


MAX_FLOWS = 32


def shadow(health: sync_pb2.Health) -> Shadow | None:
    """What an agent says of its shadow; an agent's words are cut to size, like all it says."""
    if not health.HasField("shadow"):
        return None
    said = health.shadow
    flows = tuple(
        Difference(
            flow.direction[:8],
            flow.peer[:256],
            flow.action[:64],
            flow.resource[:256],
            flow.allowed,
            flow.policy[:64],
            flow.count,
        )
        for flow in said.flows[:MAX_FLOWS]
    )
    return Shadow(said.version, said.decided, said.newly_allowed, said.newly_denied, flows)


def node_policy(row: NodeRow, state: AgentState | None) -> admin_pb2.NodePolicy:
    message = admin_pb2.NodePolicy(node=row.short)
    if state is None:
        return message
    message.connected, message.enforced = state.connected, state.policy_version
    if state.shadow is not None:
        said = state.shadow
        message.shadow, message.decided = said.version, said.decided
        message.newly_allowed, message.newly_denied = said.newly_allowed, said.newly_denied
        message.flows.extend(admin_pb2.ShadowFlow(**asdict(flow)) for flow in said.flows)
    return message


def finding(found: Finding) -> admin_pb2.Finding:
    names = ("code", "severity", "file", "line", "policy", "message", "hint")
    return admin_pb2.Finding(**{name: getattr(found, name) for name in names})
