"""Cedar's `ipaddr`: literals folded, `context.source_ip` as membership in networks, which is what a proxy can match.

The source of a request is one address, never a range. Cedar has already refused malformed literals.
"""

import ipaddress

from policies import simplify
from policies.model import Bool, Expr, InRange
from policies.operands import Fixed, Refused, Source, Value

Interface = ipaddress.IPv4Interface | ipaddress.IPv6Interface
ALL = ("0.0.0.0/0", "::/0")
LOOPBACK = ("127.0.0.0/8", "::1/128")
MULTICAST = ("224.0.0.0/4", "ff00::/8")
QUESTIONS = {
    "is_ipv4": ALL[:1],
    "is_ipv6": ALL[1:],
    "is_loopback": LOOPBACK,
    "is_multicast": MULTICAST,
}


def fixed(text: str) -> Fixed:
    """The literal `ip("…")`: an address with its prefix length, both of which count in `==`."""
    try:
        return Fixed("ip", ipaddress.ip_interface(text))
    except ValueError as exc:
        raise Refused(f"`{text[:50]}` is no address that can be enforced", "ip") from exc


def is_of_kind(op: str, value: Value) -> Expr:
    """`isIpv4()`, `isIpv6()`, `isLoopback()`, `isMulticast()`."""
    networks = QUESTIONS[op]
    match value:
        case Source():
            return simplify.either(*map(InRange, networks))
        case Fixed("ip", address):
            return Bool(any(_inside(_interface(address), ipaddress.ip_interface(one)) for one in networks))
    raise Refused("an address is needed", op)


def is_in_range(value: Value, network: Value) -> Expr:
    """`value.isInRange(network)`."""
    match value, network:
        case Source(), Source():
            return simplify.TRUE
        case Source(), Fixed("ip", limit):
            return InRange(str(_interface(limit).network))
        case Fixed("ip", address), Fixed("ip", limit):
            return Bool(_inside(_interface(address), _interface(limit)))
        case Fixed("ip"), Source():  # a range of more than one address is inside no single one
            return equal(value)
    raise Refused("`isInRange` needs two addresses", "isInRange")


def equal(value: Value) -> Expr:
    """`context.source_ip == value`."""
    match value:
        case Source():
            return simplify.TRUE
        case Fixed("ip", address):
            one = _interface(address)
            single = one.network.prefixlen == one.max_prefixlen
            return InRange(str(one.network)) if single else simplify.FALSE
    return simplify.FALSE


def assume(expr: Expr, *, met: bool) -> Expr:
    """`expr` without questions about the source: true wherever `expr` may be (`met`), or only where it must be."""
    return simplify.rebuilt(expr, lambda leaf, up: Bool(up) if isinstance(leaf, InRange) else leaf, up=met)


def _inside(inner: Interface, outer: Interface) -> bool:
    a, b = inner.network, outer.network
    if isinstance(a, ipaddress.IPv4Network) and isinstance(b, ipaddress.IPv4Network):
        return a.subnet_of(b)
    if isinstance(a, ipaddress.IPv6Network) and isinstance(b, ipaddress.IPv6Network):
        return a.subnet_of(b)
    return False


def _interface(value: object) -> Interface:
    if not isinstance(value, ipaddress.IPv4Interface | ipaddress.IPv6Interface):
        raise RuntimeError("an `ip` literal holds an interface")
    return value
