"""How many attempts were denied, how many were harmless, by class."""

from collections import Counter


def rows(found: Counter[tuple[str, str]]) -> list[str]:
    """A line for each class of attempts, and one for all."""
    listed = [
        f"  {ref:<28} {found[ref, 'denied']:>4} denied  {found[ref, 'harmless']:>4} harmless"
        for ref in sorted({ref for ref, _ in found})
    ]
    denied = sum(count for (_, outcome), count in found.items() if outcome == "denied")
    total = f"  {sum(found.values())} attempts: {denied} denied, {sum(found.values()) - denied} harmless"
    return [*listed, total] if found else []
