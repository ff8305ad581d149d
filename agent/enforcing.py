"""One state after another: into Envoy, then onto open streams, then back to the control plane as a signed receipt.

In this order: nothing is reported that is not enforced, and no stream outlives the state that allowed it.
"""

import time

import structlog

from agent.cutter import Cutter
from agent.envoy.dataplane import DataPlane
from agent.errors import NotAcknowledgedError, RejectedError
from agent.evidence.keeper import Keeper
from agent.identity import Identity
from agent.judge import Judge
from agent.state import Enforceable
from agent.statements import Statements
from agent.sync import Sync
from controlplane.api.gen import sync_pb2

log = structlog.get_logger()


class Enforcing:
    """Applies states. Called by one task."""

    def __init__(
        self, plane: DataPlane, keeper: Keeper, cutter: Cutter, sync: Sync, statements: Statements
    ) -> None:
        self._plane, self._keeper, self._cutter = plane, keeper, cutter
        self._sync, self._statements = sync, statements
        self._reported = (-1, -1)  # stream and generation of the last receipt
        self._revoked: set[str] = set()
        self._said: sync_pb2.Enforcing | None = None
        self.enforced: tuple[int, int] | None = None
        """Generation and policy version that Envoy has acknowledged; None: nothing that allows anything."""

    def forget(self, identity: Identity) -> None:
        """Envoy has ended: whatever runs next has nothing, and denies."""
        self._plane.close(identity)
        self.enforced = None

    def holding(self) -> None:
        """Tell at once which policy versions are held: whoever applies one waits for that, and Envoy has no part in it."""
        staged = sorted(self._sync.received.bundles)
        if self._said is not None and list(self._said.staged_versions) != staged:
            said = sync_pb2.Enforcing()
            said.CopyFrom(self._said)
            said.staged_versions[:] = staged
            self._said = said
            self._sync.report(sync_pb2.SyncRequest(enforcing=said))

    async def enforce(self, state: Enforceable) -> bool:
        """False when Envoy did not take all of it: then it must be tried again."""
        error, started = "", time.monotonic()
        try:
            await self._plane.shut(state, recording=self._keeper.healthy)
            self._judge(state)
            stamp = await self._plane.load(state)
        except (RejectedError, NotAcknowledgedError) as exc:
            log.warning("not_enforced", generation=state.trust.generation, reason=str(exc))
            error = str(exc)
        if error:
            self.enforced = None
            self._judge(state)
            self._report(state, 0, error)
            return False
        self.enforced = (stamp.generation, stamp.policy_version) if state.bundle else None
        said, receipt = (self._sync.sessions, stamp.generation), b""
        if said != self._reported:  # a control plane that was restarted, or another one, is told again
            receipt = self._statements.receipt(stamp.generation)
        along = self._sync.receipts_along
        self._report(state, stamp.policy_version, self._sync.received.error, receipt if along else b"")
        if receipt and not along:
            self._sync.report(sync_pb2.SyncRequest(receipt=receipt))
        self._reported = said
        log.debug("enforced", generation=stamp.generation, ms=round((time.monotonic() - started) * 1000, 1))
        return True

    def _judge(self, state: Enforceable) -> None:
        now, boottime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        leased = state.lease.open(now, boottime) and now < state.identity.not_after
        streams = self._keeper.streams()
        revoked = {name for name, floor in state.trust.floors.items() if floor is None}
        if fresh := revoked - self._revoked:
            self._cutter.disconnect(fresh, streams)
        self._revoked = revoked
        ended = self._cutter.rejudge(Judge(state, leased=leased), streams)
        if ended:
            log.info("streams_cut", count=ended, generation=state.trust.generation)

    def _report(self, state: Enforceable, version: int, error: str, receipt: bytes = b"") -> None:
        enforcing = sync_pb2.Enforcing(
            generation=0 if error and not version else state.trust.generation,
            policy_version=version,
            ticket_generation=state.bundle.ticket.generation if state.bundle else 0,
            error=error,
            staged_versions=sorted(self._sync.received.bundles),
        )
        self._said = enforcing
        told = sync_pb2.Enforcing(receipt=receipt)
        told.MergeFrom(enforcing)  # what is said again later is said without it
        self._sync.report(sync_pb2.SyncRequest(enforcing=told))
