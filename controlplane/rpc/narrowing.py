"""Answers cut down to the sites that the caller may see. Counts over the whole mesh are left as they are: they name nobody."""

from collections.abc import Callable
from typing import Any

from controlplane.services.admin.grants import Grant

Narrow = Callable[[Any, Grant], Any]
"""Takes an answer that may be changed; returns it, or None where nothing of it is for this caller."""
SiteOf = Callable[[Any], str]


def nothing(answer: Any, _: Grant) -> Any:
    return answer


def site(item: Any) -> str:
    return str(item.site)


def name(item: Any) -> str:
    return str(item.name)


def of_short_name(item: Any) -> str:
    """`<node>.<site>`"""
    return str(item.node).partition(".")[2]


def of_spiffe_id(item: Any) -> str:
    """`spiffe://<td>/<jurisdiction>/<site>/<node>`; of a control plane none, which only the whole mesh may see."""
    parts = str(item.spiffe_id).removeprefix("spiffe://").split("/")
    return parts[2] if len(parts) == 4 else ""  # noqa: PLR2004


def by(field: str, site_of: SiteOf = site) -> Narrow:
    """Keep the items of one repeated field whose site the caller may see."""

    def narrow(answer: Any, grant: Grant) -> Any:
        _keep(answer, field, site_of, grant)
        return answer

    return narrow


def enforcement(event: Any, grant: Grant) -> Any:
    """One event of a stream; the last one names nobody."""
    return event if event.last or grant.sees(of_spiffe_id(event)) else None


def overview(answer: Any, grant: Grant) -> Any:
    for field in ("attention", "listed"):
        _keep(answer, field, of_short_name, grant)
    return answer


def operators(answer: Any, grant: Grant) -> Any:
    """Those whose scope is within the caller's."""
    kept = [one for one in answer.operators if grant.holds(one.sites)]
    del answer.operators[:]
    answer.operators.extend(kept)
    return answer


def _keep(answer: Any, field: str, site_of: SiteOf, grant: Grant) -> None:
    if grant.everywhere:
        return
    items = getattr(answer, field)
    kept = [item for item in items if grant.sees(site_of(item))]
    del items[:]
    items.extend(kept)
