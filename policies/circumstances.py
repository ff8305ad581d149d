"""When and from where a request comes, where somebody writes it down or asks for an example."""

import ipaddress
from collections.abc import Iterable
from datetime import UTC, date, datetime

from policies.errors import InputError
from policies.model import DAY_MS, NOW_MAX_MS, Before, Clock, Expr, InRange

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
USUAL_MS = 1_767_268_800_000  # 2026-01-01T12:00Z
USUAL_SOURCE = "192.0.2.1"
_USUAL = (USUAL_SOURCE, "0.0.0.0", "::")  # noqa: S104 - one that is usual, and the first of either kind


def read_moment(value: object, where: str) -> int | None:
    """`2026-01-01T12:00:00Z`, or as YAML reads it; without a zone it is UTC. None: not said."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        at = None
    if isinstance(at, date) and not isinstance(at, datetime):
        at = datetime(at.year, at.month, at.day, tzinfo=UTC)
    if not isinstance(at, datetime):
        raise InputError(where, "must be a time, as `2026-01-01T12:00:00Z`")
    return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def read_address(value: object, where: str) -> Address | None:
    """None: not said."""
    try:
        return None if value is None else ipaddress.ip_address(str(value))
    except ValueError as exc:
        raise InputError(where, f"`{str(value)[:50]}` is no address") from exc


def moments(leaves: Iterable[Expr]) -> tuple[int, ...]:
    """Times that are all that these questions can tell apart: around every bound, at every hour that is named."""
    asked = list(leaves)
    bounds = {leaf.at_ms + step for leaf in asked if isinstance(leaf, Before) for step in (-1, 0)}
    hours = {bound for leaf in asked if isinstance(leaf, Clock) for bound in (leaf.from_ms, leaf.until_ms)}
    days = {at - at % DAY_MS + step for at in (USUAL_MS, 0, *bounds) for step in (-DAY_MS, 0, DAY_MS)}
    found = {USUAL_MS, *bounds, *(day + hour % DAY_MS for day in days for hour in (0, *hours))}
    return tuple(
        sorted((at for at in found if 0 <= at <= NOW_MAX_MS), key=lambda at: (abs(at - USUAL_MS), at))
    )


def addresses(leaves: Iterable[Expr]) -> tuple[str, ...]:
    """Addresses that are all that these questions can tell apart: where networks begin, and where they have ended."""
    networks = [ipaddress.ip_network(leaf.network) for leaf in leaves if isinstance(leaf, InRange)]
    ends = [network.broadcast_address for network in networks]
    found = [
        *(str(network.network_address) for network in networks),
        *(str(end + 1) for end in ends if int(end) < 2**end.max_prefixlen - 1),
    ]
    return tuple(dict.fromkeys([*_USUAL, *found]))


def answer(leaf: Before | Clock | InRange, value: object) -> bool:
    """What a question comes to for a time, or for an address as text."""
    match leaf, value:
        case InRange(network), str(text):
            return ipaddress.ip_address(text) in ipaddress.ip_network(network)
        case Before(at_ms), int(at):
            return at < at_ms
        case Clock(from_ms, until_ms), int(at):
            return from_ms <= at % DAY_MS < until_ms
    raise RuntimeError("times are numbers, addresses are texts")
