"""What an agent tells of itself: to the control plane when it connects and from time to time, and to those who watch it."""

import time
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from agent import held
from agent.cutter import Cutter
from agent.enforcing import Enforcing
from agent.envoy.sidecar import Sidecar
from agent.evidence.keeper import Keeper
from agent.identity import Identity
from agent.monitor import Facts, Span
from agent.shadow import Shadow
from agent.statements import Statements
from agent.sync import Received, features
from controlplane.api.gen import sync_pb2


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """The parts of a running agent, as they stand at this moment."""

    identity: Identity
    sidecar: Sidecar
    received: Received
    keeper: Keeper
    cutter: Cutter
    enforcing: Enforcing | None
    shadow: Shadow | None
    connected: bool
    can_cut: bool
    unreachable: Collection[str]


def hello(sidecar: Sidecar, received: Received, statements: Statements, state_dir: Path) -> sync_pb2.Hello:
    trusted = received.trusted
    return sync_pb2.Hello(
        agent_version=metadata.version("writ-mesh"),
        envoy_version=sidecar.version,
        features=features(),
        ingress_address=sidecar.advertised(),
        trust_digest=trusted.highest.trust_digest if trusted.trust else "",
        blob_digests=list(received.blobs),
        evidence_key=statements.evidence_statement(),
        held=held.documents(state_dir),
    )


def health(of: Standing) -> sync_pb2.Health:
    return sync_pb2.Health(
        lease_until=of.received.lease.until,
        records=of.keeper.records,
        gaps=of.keeper.gaps,
        not_cut=list(of.cutter.not_cut.values()),
        shadow=of.shadow.report() if of.shadow is not None else None,
        cannot_cut=not of.can_cut,
        evidence_unwritable=not of.keeper.healthy,
        clock_ms=int(time.time() * 1000),
        unreachable=of.unreachable,
    )


def facts(of: Standing) -> Facts:
    mine, keeper, lease = of.identity, of.keeper, of.received.lease
    beat, trust = of.received.trusted.heartbeat, of.received.trusted.trust
    until = lease.wall_until(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))
    return Facts(
        node=mine.spiffe_id.short,
        version=metadata.version("writ-mesh"),
        envoy_version=of.sidecar.version,
        certificate=Span(begins=mine.not_before, ends=mine.not_after),
        lease=Span(begins=beat.at if beat else 0, ends=until if beat else 0),
        connected=of.connected,
        revoked=trust is not None and trust.floors.get(str(mine.spiffe_id), 1) is None,
        received=trust.generation if trust else 0,
        enforced=of.enforcing.enforced if of.enforcing else None,
        evidence_writable=keeper.healthy,
        can_cut=of.can_cut,
        records=keeper.records,
        gaps=keeper.gaps,
        decisions={code or "allowed": count for code, count in keeper.decisions.items()},
        open_streams=len(keeper.open),
        not_cut=len(of.cutter.not_cut),
        envoy_starts=of.sidecar.starts,
    )
