"""Whom to believe as a control plane when all that we know is too old: the one who shows a CA below our root.

A node that was away while the mesh replaced its control-plane CAs knows none of the new ones, and so nobody who could tell it.
Only while its lease has ended, when it denies everything, does it ask at the enrolment port, as on its first day. What it
then hears counts for its signatures alone; as soon as a lease is open again, the trust document says whom to believe.
"""

import asyncio
import random
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from agent import contact, enrol
from agent.errors import EnrolError
from controlplane.api import files
from policies.roots import Roots

log = structlog.get_logger()
LOOK_S = 5.0


class Introduction:
    """Looks every few seconds; `changed` is called when somebody is believed who was not."""

    def __init__(
        self,
        state_dir: Path,
        roots: Callable[[], Roots],
        *,
        lost: Callable[[], bool],
        known: Callable[[], tuple[bytes, ...]],
        changed: Callable[[], None],
    ) -> None:
        """`lost`: nothing counts any more and nobody is heard. `known`: control-plane CAs (DER) of the trust document."""
        self._state_dir, self._roots = state_dir, roots
        self._lost, self._known, self._changed = lost, known, changed
        self._introduced: tuple[bytes, ...] = ()

    def believed(self) -> tuple[bytes, ...]:
        """As a control plane, now."""
        return (*self._known(), *self._introduced)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            if not self._lost():
                self._introduced = ()
                continue
            found = await self._ask()
            if found is not None and found not in self.believed():
                self._introduced = (found,)
                log.info("control_plane_introduced")
                self._changed()

    async def _ask(self) -> bytes | None:
        """The CA of the first control plane that shows our root, or one that ours vouches for."""
        for address in (files.read(self._state_dir / enrol.ENROLMENT) or b"").decode().split(","):
            try:
                return (await contact.meet(address, self._roots(), int(time.time())))[1]
            except EnrolError as exc:
                log.info("not_introduced", address=address, reason=str(exc), hint=exc.hint)
        return None
