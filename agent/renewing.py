"""The node's own certificate: renewed at half-life, when the control plane asks, and when the node was narrowed.

Tried again with backoff as long as it fails; one that has ended is renewed by grace. Where that is refused, a node that has
evidence of its own enrols again: a machine that slept for a week heals alone, and so does one whose name was freed.
"""

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Collection

import structlog

from agent import enrol
from agent.config import Config
from agent.controlplanes import ControlPlanes
from agent.errors import AgentError, EnrolError
from agent.identity import Identity
from certs.renewal import renew_at
from policies.roots import Roots

log = structlog.get_logger()
RETRY_S, MAX_RETRY_S = 1.0, 60.0
LOOK_S = 5.0
MAX_REISSUE_S = 600


class Renewing:
    """`become` takes the new identity into use."""

    def __init__(
        self,
        config: Config,
        roots: Callable[[], Roots],
        control_planes: ControlPlanes,
        identity: Callable[[], Identity],
        become: Callable[[Identity], Awaitable[None]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._config, self._roots, self._control_planes = config, roots, control_planes
        self._identity, self._become, self._clock = identity, become, clock
        self._now = asyncio.Event()

    def soon(self) -> None:
        """Before its time."""
        self._now.set()

    def asked(self, serial: str) -> None:
        """The control plane wants this certificate to be replaced."""
        if serial == f"{self._identity().serial:x}":
            self._now.set()

    def reissue(self, cas: Collection[bytes], within_s: int) -> None:
        """The keys of these CAs may be stolen: if one of them signed our certificate, replace it, at a moment of our own."""
        mine = self._identity()
        if mine.chain[1] in cas:
            delay_s = random.uniform(0, min(within_s, MAX_REISSUE_S))  # noqa: S311 - jitter
            asyncio.get_running_loop().call_later(delay_s, self.asked, f"{mine.serial:x}")

    async def run(self) -> None:
        retry = RETRY_S
        while True:
            mine = self._identity()
            due = renew_at(mine.not_before, mine.not_after, random.uniform(-1, 1))  # noqa: S311 - jitter
            # Looked at again and again: timers of the event loop stand still while the machine sleeps.
            while not self._now.is_set() and (left := due - self._clock()) > 0:
                await self._wait(min(left, LOOK_S))
            self._now.clear()
            try:
                await self._once()
                self._now.clear()  # what was asked for meanwhile was asked of the old certificate
                retry = RETRY_S
            except (EnrolError, AgentError) as exc:
                log.warning(
                    "renewal_failed", reason=str(exc), hint=exc.hint, not_after=self._identity().not_after
                )
                await self._wait(retry * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                retry = min(retry * 2, MAX_RETRY_S)
                self._now.set()

    async def _wait(self, longest_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(longest_s):
                await self._now.wait()

    async def _once(self) -> None:
        now, mine = int(self._clock()), self._identity()
        if now >= mine.not_after:
            made = await self._late(mine, now)
        else:
            made = await self._control_planes.ask(
                lambda open_: enrol.renew(
                    self._config.state_dir, open_, self._roots(), now, self._config.attest
                ),
                EnrolError,
            )
        await self._become(made)
        log.info("renewed", serial=f"{made.serial:x}", epoch=made.epoch, not_after=made.not_after)

    async def _late(self, mine: Identity, now: int) -> Identity:
        directory, source = self._config.state_dir, self._config.attest
        try:
            return await enrol.renew_expired(directory, mine, self._roots(), now, source)
        except EnrolError as exc:
            if not source:
                raise
            log.warning("grace_refused", reason=str(exc))
            return await enrol.enrol(self._config, now, self._roots())
