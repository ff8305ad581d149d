"""Nonces to sign: each good once, for a minute, for what it was asked for. How many are out is bounded, also for one address.

They are in the memory of the replica that made them: whoever asks uses the same connection for the answer.
"""

import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.errors import BusyError

NONCE_S, MAX_NONCES, MAX_OF_ONE = 60, 10_000, 1_000


@dataclass(frozen=True, slots=True)
class _Out:
    until: int
    subject: bytes
    source: str


class Challenges:
    """Those that are out."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self._clock = clock
        self._out: OrderedDict[bytes, _Out] = OrderedDict()
        self._of: Counter[str] = Counter()

    def ask(self, subject: bytes, source: str) -> bytes:
        """A nonce for the holder of `subject`, a certificate; BusyError when too many are out."""
        now = self._clock()
        while self._out and next(iter(self._out.values())).until <= now:
            self._forget(next(iter(self._out)))
        if len(self._out) >= MAX_NONCES or self._of[source] >= MAX_OF_ONE:
            raise BusyError("too many challenges at once")
        nonce = secrets.token_bytes(32)
        self._out[nonce] = _Out(now + NONCE_S, _digest(subject), source)
        self._of[source] += 1
        return nonce

    def redeem(self, nonce: bytes, subject: bytes) -> bool:
        """Was it given for `subject`, and is it good? Never a second time."""
        found = self._forget(nonce)
        return found is not None and self._clock() < found.until and found.subject == _digest(subject)

    def _forget(self, nonce: bytes) -> _Out | None:
        found = self._out.pop(nonce, None)
        if found is not None:
            self._of[found.source] -= 1
            if not self._of[found.source]:
                del self._of[found.source]
        return found


def _digest(subject: bytes) -> bytes:
    return hashlib.sha256(subject).digest()  # a stranger sends it: 32 bytes, not 32 kB
