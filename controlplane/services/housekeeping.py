"""What one replica does for all: ending policy rollouts that nobody ends, and forgetting what has expired."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from certs.profile import MAX_LIFETIME_S
from controlplane import model
from controlplane.errors import ControlPlaneError
from controlplane.model import CertificateRow, NodeRow, TokenRow
from controlplane.services import rows
from controlplane.services.duty import Duty
from controlplane.services.identity import key_owners
from controlplane.services.policy.rollout import LAG_WAIT_S
from controlplane.services.push.publish import Publisher
from controlplane.store.base import MAX_OPERATIONS, Store

log = structlog.get_logger()
NAME = "housekeeping"
ROUND_S = 5.0
KEEP_S = 86_400  # expired certificates are kept for a day, and for the grace in which they may be renewed
TOKENS_S = 60  # how often ended tokens are looked for
EVIDENCE_S = 3600  # how long evidence is kept after its end
MARGIN_S = 3600  # how far the clocks of replicas and verifiers may differ
FLOORS_S = MAX_LIFETIME_S + MARGIN_S
"""After a floor rose, or a node was revoked: by then every certificate from before has ended."""
AGREES_MS = 300_000
BATCH = MAX_OPERATIONS - 2


class Housekeeping:
    """What the holder of the duty does, every few seconds."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        duty: Duty,
        *,
        grace_s: int,
        chores: Sequence[Callable[[Duty], Awaitable[None]]] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`chores`: what else is done in each round; each commits through the duty."""
        self._store, self._publisher, self._duty, self._chores = store, publisher, duty, chores
        self._keep_s, self._clock = max(KEEP_S, grace_s), clock
        self._tokens_at = self._floors_at = 0
        self._lagging = (0, 0.0)  # policy version that agents may lag behind, and since when

    async def run(self) -> None:
        while True:
            try:
                if await self._duty.hold():
                    await self.once()
            except ControlPlaneError as exc:
                log.info("housekeeping_paused", reason=str(exc))
            await asyncio.sleep(ROUND_S)

    async def once(self) -> None:
        await self._end_rollout()
        await self._forget_expired()
        await self._forget_tokens()
        await self._forget_floors()
        for chore in self._chores:
            await chore(self._duty)

    async def _end_rollout(self) -> None:
        """A replica that put a policy in force and died leaves older versions counting: no more than agents need."""
        state = await rows.policy_state(self._store)
        if state.row.minimum == state.row.now:
            return
        if self._lagging[0] != state.row.now:
            self._lagging = (state.row.now, self._clock())
        agents = self._publisher.agents()
        enforced = bool(agents) and all(a.policy_version >= state.row.now for a in agents)
        if not enforced or self._clock() - self._lagging[1] < LAG_WAIT_S:
            return  # after a restart nobody is connected yet
        raised = replace(state.row, minimum=state.row.now)
        put = {rows.POLICY: model.dump(raised), rows.MESH: b"{}"}
        await self._duty.commit(expect={rows.POLICY: state.revision}, put=put)
        await self._publisher.refresh()

    async def _forget_expired(self) -> None:
        """Issuance records of certificates long dead. Otherwise the store grows with every renewal."""
        last = rows.hour(int(self._clock()) - self._keep_s)
        first = self._duty.done + 1 if self._duty.done else last
        for hour in range(first, last):
            found, _ = await self._store.list(rows.certificates_of(hour))
            certificates = [model.load(CertificateRow, item.value) for item in found]
            keys = {one.spki for one in certificates}
            await key_owners.forget(self._store, self._duty.commit, keys, before=(hour + 1) * 3600)
            dead = [item.key for item in found] + [key for one in certificates for key in one.beside]
            for start in range(0, len(dead), BATCH):
                await self._duty.commit(expect={}, put={}, delete=dead[start : start + BATCH])
            if dead:
                log.info("forgotten", rows=len(dead), hour=hour)
        self._duty.done = max(self._duty.done, last - 1)

    async def _forget_tokens(self) -> None:
        """JWT-SVIDs, join tokens and other evidence that have ended: they live for minutes, and what is kept is what is alive."""
        now = int(self._clock())
        if now - self._tokens_at < TOKENS_S:
            return
        self._tokens_at = now
        items, _ = await self._store.list(rows.JWTS)
        ended = [item.key for item in items if item.key < rows.jwt_key(now, "")]
        # Evidence that is good once: long after its end every replica refuses it, known or not, whatever its clock.
        evidence = await rows.every(self._store, TokenRow, rows.TOKENS)
        ended += [stored.key for stored in evidence if stored.row.expires_at + EVIDENCE_S <= now]
        for start in range(0, len(ended), BATCH):
            await self._duty.commit(expect={}, put={}, delete=ended[start : start + BATCH])

    async def _forget_floors(self) -> None:
        """What the trust document says of certificates that have all ended anyway. Otherwise it grows with every revocation.

        The node's own row stays as it is: revoked, it renews by no grace, and enrols again only above its floor. One that is
        quarantined goes on to be certified, and to be named.
        """
        now = int(self._clock())
        if now - self._floors_at < TOKENS_S or not self._clock_agrees():
            return
        self._floors_at = now
        found = await rows.every(self._store, NodeRow, rows.FLOORS)
        ended = [one for one in found if _all_ended(one.row, now)]
        for start in range(0, len(ended), BATCH // 2):
            batch = ended[start : start + BATCH // 2]
            expect = {one.key: one.revision for one in batch}  # it may have risen again meanwhile
            await self._duty.commit(expect=expect, put={rows.MESH: b"{}"}, delete=list(expect))
        if ended:
            log.info("floors_forgotten", nodes=len(ended))
            await self._publisher.refresh()

    def _clock_agrees(self) -> bool:
        """Do most agents that are here say the same time? A clock that is days ahead would bring the revoked back to life.

        One that has jumped since they last said so finds them silent for as long.
        """
        agents = [one for one in self._publisher.hub.connected() if one.lease_until and not one.replica]
        now, off_s = self._clock(), AGREES_MS / 1000
        agreeing = [
            one for one in agents if abs(one.clock_off_ms) < AGREES_MS and abs(now - one.last_seen) < off_s
        ]
        return len(agreeing) * 2 > len(agents)


def _all_ended(row: NodeRow, now: int) -> bool:
    """By the time of the revocation, and by the newest certificate's own end: one of the two clocks may have been wrong."""
    long_ago = 0 < row.floor_at < now - FLOORS_S and row.not_after < now - MARGIN_S
    return long_ago and row.state != model.QUARANTINED
