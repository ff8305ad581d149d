"""Tallies: per peer and minute, how many requests, and a hash over which. Both ends make them, so that a gap shows
without anybody seeing a record.

The hash is a sum modulo 2^256 of SHA-256 over request id and whether the request reached the callee's decision: order does
not matter, and leaving one out cannot be hidden by another.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from audit.record import DecisionRecord

MODULUS = 1 << 256
MINUTE_MS = 60_000


@dataclass(slots=True)
class Tallies:
    """Mutable, owned by the log's keeper. Keys: (peer, direction, minute)."""

    counts: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    sums: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def add(self, record: DecisionRecord) -> None:
        if reached(record):
            key = (record.peer, record.direction, record.time_ms // MINUTE_MS)
            self.count(key, [record.request_id.encode()])

    def count(self, key: tuple[str, str, int], request_ids: Sequence[bytes]) -> None:
        """Requests of one (peer, direction, minute) that reached the callee's decision."""
        self.counts[key] += len(request_ids)
        self.sums[key] = (self.sums.get(key, 0) + sum(map(token, request_ids))) % MODULUS

    def totals(self) -> dict[tuple[str, str], tuple[int, str]]:
        """(peer, direction) -> (count, hash) over all minutes: what pairs of nodes are compared by."""
        found: dict[tuple[str, str], tuple[int, int]] = {}
        for (peer, direction, minute), count in self.counts.items():
            so_far, total = found.get((peer, direction), (0, 0))
            found[peer, direction] = (so_far + count, (total + self.sums[peer, direction, minute]) % MODULUS)
        return {key: (count, f"{total:064x}") for key, (count, total) in found.items()}

    def rows(self) -> list[list[str | int]]:
        """[peer, direction, minute, count, hash], sorted: the payload of a statement."""
        return [[*key, count, f"{self.sums[key]:064x}"] for key, count in sorted(self.counts.items())]


def reached(record: DecisionRecord) -> bool:
    """Did the callee see it? What the caller's own sidecar refused never left."""
    return record.direction == "in" or record.allowed


def token(request_id: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"writ-tally\n" + request_id).digest(), "big")
