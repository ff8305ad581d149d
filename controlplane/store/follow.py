"""Follow a prefix for ever: first what is there, then every change; where history is gone, list again and compare.

A change that fell into the gap is told as its last state: in between values are lost, no key's last word is.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence

import structlog

from controlplane.errors import CompactedError, UnavailableError
from controlplane.store.base import Event, Item, Store

log = structlog.get_logger()
PAUSE_S = 0.5


async def follow(store: Store, prefix: str) -> AsyncIterator[Event]:
    """Ends only by being cancelled, or with an error that waiting does not mend."""
    known: dict[str, int] = {}
    while True:
        try:
            items, revision = await store.list(prefix)
        except UnavailableError as exc:
            log.warning("cannot_list", prefix=prefix, reason=str(exc))
            await asyncio.sleep(PAUSE_S)
            continue
        for event in differences(known, items, revision):
            yield event
        known = {item.key: item.revision for item in items}
        try:
            async for event in store.watch(prefix, revision):
                if event.value is None:
                    known.pop(event.key, None)
                else:
                    known[event.key] = event.revision
                yield event
        except CompactedError as exc:
            log.info("listing_again", prefix=prefix, reason=str(exc))


def differences(known: dict[str, int], items: Sequence[Item], revision: int) -> Iterator[Event]:
    """What changed between what was known and what is there, as events."""
    for item in items:
        if known.get(item.key) != item.revision:
            yield Event(item.revision, item.key, item.value)
    for key in sorted(known.keys() - {item.key for item in items}):
        yield Event(revision, key, None)
