"""End a stream whose permission has gone, by destroying its loopback socket: exactly that stream ends.

SOCK_DESTROY of Linux's sock_diag (what `ss -K` uses). It needs CAP_NET_ADMIN in the sidecar's network namespace; without
it `destroy` says so, and the stream ends by its own maximum duration.
"""

import errno
import ipaddress
import socket
import struct
from dataclasses import dataclass
from enum import Enum

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY, SOCK_DESTROY = 20, 21
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
ESTABLISHED = 1 << 1
ANY_COOKIE = b"\xff" * 8
HEADER = struct.Struct("=IHHII")
RECEIVE = 1 << 16


class Cut(Enum):
    """What became of a socket."""

    DONE = "done"
    GONE = "gone"  # it had ended by itself
    NOT_PERMITTED = "not permitted"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address and a port."""

    host: str
    port: int


def parse(text: str) -> Endpoint | None:
    """`127.0.0.1:80` or `[::1]:80`, as Envoy logs it; None for a pipe or nothing."""
    host, colon, port = text.rpartition(":")
    try:
        return Endpoint(str(ipaddress.ip_address(host.strip("[]"))), int(port)) if colon else None
    except ValueError:
        return None


def destroy(local: Endpoint, remote: Endpoint) -> Cut:
    """Destroy one established TCP socket of this network namespace; both of its ends see a reset."""
    with _netlink() as sock:
        message = _request(local, remote, SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK)
        sock.send(message)
        code = _error(sock.recv(RECEIVE))
    if code == 0:
        return Cut.DONE
    if code in {errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.EINVAL}:
        return Cut.NOT_PERMITTED
    return Cut.GONE


def established(port: int) -> list[tuple[Endpoint, Endpoint]]:
    """(local, remote) of every established TCP socket with this local port."""
    found: list[tuple[Endpoint, Endpoint]] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        with _netlink() as sock:
            sock.send(_dump(family, port))
            done = False
            while not done:
                done = _collect(sock.recv(RECEIVE), port, found)
    return found


def can_cut() -> bool:
    """Try it on a connection of our own."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(1)
        with socket.create_connection(server.getsockname()) as client:
            local, remote = Endpoint(*client.getsockname()), Endpoint(*client.getpeername())
            return destroy(local, remote) is Cut.DONE


def _netlink() -> socket.socket:
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    sock.settimeout(2)
    return sock


def _request(local: Endpoint, remote: Endpoint, kind: int, flags: int) -> bytes:
    family = socket.AF_INET6 if ":" in local.host else socket.AF_INET
    return _message(kind, flags, family, 0xFFFFFFFF, _socket_id(local, remote, family))


def _dump(family: int, port: int) -> bytes:
    blank = Endpoint("::" if family == socket.AF_INET6 else "0.0.0.0", 0)  # noqa: S104 - a wildcard in a query
    identity = _socket_id(Endpoint(blank.host, port), blank, family)
    return _message(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, family, ESTABLISHED, identity)


def _socket_id(local: Endpoint, remote: Endpoint, family: int) -> bytes:
    """Struct inet_diag_sockid: ports and addresses in network order."""
    addresses = b"".join(socket.inet_pton(family, end.host).ljust(16, b"\0") for end in (local, remote))
    return struct.pack("!HH", local.port, remote.port) + addresses + struct.pack("=I", 0) + ANY_COOKIE


def _message(kind: int, flags: int, family: int, states: int, identity: bytes) -> bytes:
    """Struct inet_diag_req_v2 behind a netlink header."""
    body = struct.pack("=BBBBI", family, socket.IPPROTO_TCP, 0, 0, states) + identity
    return HEADER.pack(HEADER.size + len(body), kind, flags, 1, 0) + body


def _error(data: bytes) -> int:
    _, kind, _, _, _ = HEADER.unpack_from(data)
    return -struct.unpack_from("=i", data, HEADER.size)[0] if kind == NLMSG_ERROR else 0


def _collect(data: bytes, port: int, found: list[tuple[Endpoint, Endpoint]]) -> bool:
    """Read the sockets of one answer; True when it was the last."""
    at = 0
    while at + HEADER.size <= len(data):
        size, kind, _, _, _ = HEADER.unpack_from(data, at)
        if kind in {NLMSG_DONE, NLMSG_ERROR} or size < HEADER.size:
            return True
        family = data[at + HEADER.size]
        sport, dport = struct.unpack_from("!HH", data, at + HEADER.size + 4)
        width = 16 if family == socket.AF_INET6 else 4
        source, destination = (data[at + HEADER.size + 8 + i * 16 :][:width] for i in (0, 1))
        if sport == port:
            local = Endpoint(socket.inet_ntop(family, source), sport)
            found.append((local, Endpoint(socket.inet_ntop(family, destination), dport)))
        at += (size + 3) & ~3
    return False
