"""Rotation on schedule: each replica replaces its own CAs and its own JWT key long before they end, and nobody notices.

Of the life of a CA: at a half the next one is prepared; when a third is left, it is activated, once agents know it; when a
sixth is left, also if somebody does not: one agent that takes nothing must not stop the mesh. JWT keys have no end of
their own and get the same life. A CA below a root that is being replaced is replaced at once, as agents come to know the next.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

import structlog

from certs.errors import CertError
from certs.profile import CaKind
from controlplane.authority_rows import CaRow, JwtKeyRow
from controlplane.errors import ControlPlaneError, PreconditionError
from controlplane.services.authority import ca_rows, jwt_authorities
from controlplane.services.authority.lifecycle import JWT, Lifecycle

log = structlog.get_logger()
ROUND_S = 5.0
PREPARE_SHARE, ACTIVATE_SHARE, ANYWAY_SHARE = 1 / 2, 1 / 3, 1 / 6
CONTEXTS_S = 86_400  # twice what an operator's certificate lives
JWT_BELIEVED_S = 3600
"""How long a JWT key is believed after it signed its last token: five minutes, and time for others to fetch the bundle."""


class Verb(Enum):
    """What is to be done."""

    PREPARE = "prepare"
    ACTIVATE = "activate"
    RETIRE = "retire"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is due. `subject` is a kind to prepare, else a key id. `anyway`: also if somebody does not know it."""

    verb: Verb
    subject: str
    anyway: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How quickly one replica rotates. `patience_s`: a lease, after which whoever has not heard of a change acts on nothing."""

    lifetime_s: int
    patience_s: int


def cas_due(
    ours: Sequence[CaRow],
    needed_until: Callable[[CaRow], int],
    pace: Pace,
    now: int,
    leaving: Callable[[CaRow], bool] = lambda _: False,
) -> Iterator[Step]:
    """What is due of the CAs of one replica; `leaving`: below a root that signs no more. Pure."""
    for kind in CaKind:
        rows = [row for row in ours if row.kind == kind.value]
        active = max((row for row in rows if row.state == ca_rows.ACTIVE), key=_end, default=None)
        prepared = [row for row in rows if row.state == ca_rows.PREPARED]
        ready = next((row for row in prepared if not leaving(row)), None)
        left = _left(active, now) if active else 0.0
        if active and leaving(active) and not (ready and _operators_may_not_know(kind, ready, now)):
            left = min(left, ACTIVATE_SHARE)
        waiting = any(row.state == ca_rows.REQUESTED for row in rows)  # for the root
        if ready is None and not waiting and left <= PREPARE_SHARE:
            yield Step(verb=Verb.PREPARE, subject=kind.value)
        if ready is not None and left <= ACTIVATE_SHARE:
            yield _activation(ready, left, pace, now)
        for row in rows:
            ended = row.state == ca_rows.OLD and now >= needed_until(row)
            if ended or (row in prepared and leaving(row)):
                yield Step(verb=Verb.RETIRE, subject=row.key_id)


def _operators_may_not_know(kind: CaKind, ready: CaRow, now: int) -> bool:
    """Contexts ask for control-plane CAs once an hour while they are used; nobody waits for their acknowledgement."""
    return kind is CaKind.CONTROL_PLANE and now < ready.since + CONTEXTS_S


def jwt_keys_due(ours: Sequence[JwtKeyRow], pace: Pace, now: int) -> Iterator[Step]:
    """What is due of the JWT keys of one replica. Pure."""
    gone = now - pace.lifetime_s
    active = max((row.since for row in ours if row.state == jwt_authorities.ACTIVE), default=gone)
    ready = next((row for row in ours if row.state == jwt_authorities.PREPARED), None)
    left = 1 - (now - active) / pace.lifetime_s
    if ready is None and left <= PREPARE_SHARE:
        yield Step(verb=Verb.PREPARE, subject=JWT)
    if ready is not None and left <= ACTIVATE_SHARE:
        yield _activation(ready, left, pace, now)
    for row in ours:
        if row.state == jwt_authorities.OLD and now >= row.since + JWT_BELIEVED_S:
            yield Step(verb=Verb.RETIRE, subject=row.key_id)


class Rotation:
    """Does what is due, for one replica, for ever. Each step is whole: what a crash interrupts is due again."""

    def __init__(self, lifecycle: Lifecycle, pace: Pace, *, clock: Callable[[], float] = time.time) -> None:
        self._lifecycle, self._pace, self._clock = lifecycle, pace, clock

    async def run(self) -> None:
        while True:
            try:
                await self.once()
            except (ControlPlaneError, CertError, OSError) as exc:  # a full disk must not end the replica
                log.warning("rotation_paused", reason=str(exc))
            await asyncio.sleep(ROUND_S)

    async def once(self) -> None:
        now, cas = int(self._clock()), self._lifecycle.cas
        await cas.sign_what_is_due()
        ours = [stored.row for stored in await cas.ours()]
        for step in cas_due(ours, cas.needed_until, self._pace, now, cas.leaving):
            await self._do(step)
        for step in jwt_keys_due(await self._lifecycle.jwt_keys.ours(), self._pace, now):
            await self._do(step)
        await cas.forget_keys()

    async def _do(self, step: Step) -> None:
        try:
            state = await self._step(step)
        except PreconditionError as exc:
            log.info("rotation_waits", step=step.verb.value, of=step.subject, reason=str(exc))
            return
        log.info("authority_rotated", step=step.verb.value, of=step.subject, state=state, anyway=step.anyway)

    async def _step(self, step: Step) -> str:
        match step.verb:
            case Verb.PREPARE:
                return (await self._lifecycle.prepare(step.subject)).state
            case Verb.ACTIVATE:
                return (await self._lifecycle.activate(step.subject, force=step.anyway)).state
            case Verb.RETIRE:
                return (await self._lifecycle.retire(step.subject, force=False)).state


def _activation(ready: CaRow | JwtKeyRow, left: float, pace: Pace, now: int) -> Step:
    """Not before everybody can have heard of it, however late it is."""
    anyway = left <= ANYWAY_SHARE and now >= ready.since + pace.patience_s
    return Step(verb=Verb.ACTIVATE, subject=ready.key_id, anyway=anyway)


def _end(row: CaRow) -> int:
    return ca_rows.not_after(row)


def _left(row: CaRow, now: int) -> float:
    """The share of its life that a CA has left."""
    begins, ends = ca_rows.not_before(row), ca_rows.not_after(row)
    return (ends - now) / (ends - begins)
