"""When to renew: at half of a certificate's life, give or take a tenth, so that nodes do not come all at once."""

SPREAD = 0.1


def renew_at(not_before: int, not_after: int, jitter: float) -> int:
    """Unix seconds; `jitter` from -1 to 1 is the caller's randomness."""
    if not -1 <= jitter <= 1:
        raise RuntimeError("jitter is -1 to 1")
    life = not_after - not_before
    return not_before + int(life * 0.5 * (1 + SPREAD * jitter))
