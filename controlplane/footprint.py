"""How this process keeps memory: made for thousands of connections that each hold a little for hours. Sizes and pauses, nothing else.

1. Buffers of TLS and gRPC (8 to 17 KiB, six for each connection) are filled once, while it begins, and hardly touched again.
   Mapped one by one they cost the pages that were written; taken from a heap that others have dirtied they cost all of it:
   10 of 113 KiB for each agent.
2. A heap for each thread, as the C library likes it, would keep what crowds left behind in sixteen places.
3. Looking for cycles walks over all that thousands of sessions hold, and everything waits meanwhile: a fifth of what an idle
   replica of 10,000 agents did. What our own code leaves is freed without it; what is left over may wait.
"""

import ctypes
import gc

M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -2, -3, -4, -8  # malloc.h
SETTINGS = (
    (M_MMAP_THRESHOLD, 8192),
    (M_TOP_PAD, 0),
    (M_MMAP_MAX, 30_000),  # the kernel allows 65,530 mappings: from here on the heap serves all
    (M_ARENA_MAX, 2),
)
YOUNG, MIDDLE, OLD = 20_000, 20, 20


def settle() -> None:
    """Once, before much is allocated. A C library that knows none of this is left as it is."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        for what, value in SETTINGS:
            tune(what, value)


def started() -> None:
    """Everything that stays for good is there: it is never looked at again."""
    gc.collect()
    gc.freeze()
