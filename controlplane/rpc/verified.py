"""Certificates that were verified a moment ago: the same bytes are not verified again while the same CAs count.

1. Found by the hash of all that the TLS peer showed, and by nothing else.
2. Only while the CAs are the very ones it was verified against, none of them has ended, and it has not either: looked at each time.
3. What may change meanwhile is never kept: epoch against floor, and the state of the node, are the caller's to ask, each time.
4. Refusals are not kept. Bounded: what was not used for longest goes first.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from certs.verify import NodeIdentity, first_end

MAX = 16_384  # nodes of one replica, and those that come from another


class Verified:
    """One per role. Not for threads."""

    def __init__(self, verify: Callable[[bytes, tuple[bytes, ...], int], NodeIdentity]) -> None:
        """`verify`: (PEM of the leaf, anchors, now) -> who it is, or CertError."""
        self._verify = verify
        self._known: OrderedDict[bytes, NodeIdentity] = OrderedDict()
        self._anchors: tuple[bytes, ...] = ()

    def __call__(self, shown: bytes, anchors: tuple[bytes, ...], now: int) -> NodeIdentity:
        if anchors != self._anchors:  # (2)
            self._known.clear()
            self._anchors = anchors
        name = hashlib.sha256(shown).digest()  # (1)
        known = self._known.get(name)
        if known is not None and known.not_before <= now < min(known.not_after, first_end(anchors)):
            self._known.move_to_end(name)
            return known
        self._known.pop(name, None)
        fresh = self._known[name] = self._verify(shown, anchors, now)
        if len(self._known) > MAX:  # (4)
            self._known.popitem(last=False)
        return fresh
