"""Who knows nobody, at the port of enrolment: half handshakes, drips, HTTP/2 turned against us, more than a message may hold.

Each attacker is on the wire while a machine with a token enrols. Refused means refused: nothing is used, nothing is changed.
"""

import contextlib
import secrets
import socket
import ssl
import struct

import clients
import grpc
import pytest
from clients import ask

from agent import identity
from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import enrolment_pb2, enrolment_pb2_grpc
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh

pytestmark = pytest.mark.timeout(120)
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, HEADERS, RST, PING, CONTINUATION = 4, 1, 3, 6, 9
END_HEADERS = 4
PATH = b"/writ.v1.Enrolment/Enrol"
# HPACK by hand: two entries of the static table, and two literals that are not kept.
REQUEST = b"\x83\x87" + b"\x04" + bytes([len(PATH)]) + PATH + b"\x01\x01a"


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    with Mesh(tmp_path_factory.mktemp("cp"), lease_s=60, heartbeat_s=0.5) as made:
        made.init()
        made.start_control_plane()
        made.site("paris", "FR")
        made.ca = clients.root_and_ca(made, clients.token(made, "probe"), made.directory / "token")[1]
        yield made


def enrols(mesh: Mesh) -> bool:
    text = clients.token(mesh, f"n-{secrets.token_hex(4)}")
    return hasattr(ask(clients.enrolment(mesh, mesh.ca), text), "chain")


def port(mesh: Mesh) -> int:
    return int(mesh.control_plane.ports()["enrolment"])


def frame(kind: int, payload: bytes, stream: int = 0, flags: int = 0) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


@contextlib.contextmanager
def http2(mesh: Mesh):
    """A connection as a stranger makes it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port(mesh)), timeout=20) as raw,
        context.wrap_socket(raw) as tls,
    ):
        tls.sendall(PREFACE + frame(SETTINGS, b""))
        yield tls


def ended(tls: ssl.SSLSocket, flood) -> bool:
    """Does the server hang up on it?"""
    try:
        for data in flood:
            tls.sendall(data)
        while tls.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_half_a_handshake_takes_nobodys_place(mesh) -> None:
    with contextlib.ExitStack() as held:
        for number in range(200):
            raw = held.enter_context(socket.create_connection(("127.0.0.1", port(mesh)), timeout=20))
            raw.sendall((b"", b"\x16", b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n")[number % 4])
        assert enrols(mesh)
        raw.settimeout(30)
        with contextlib.suppress(OSError):
            while raw.recv(4096):  # until we are shown the door
                pass
    assert enrols(mesh)


def pings():
    for _ in range(20_000):
        yield frame(PING, b"\x00" * 8)


def rapid_reset():
    """Streams that are opened and taken back at once, thousands of them."""
    for number in range(1, 20_001, 2):
        cancelled = frame(RST, struct.pack(">I", 8), number)
        yield frame(HEADERS, REQUEST, number, END_HEADERS) + cancelled


def endless_headers():
    yield frame(HEADERS, REQUEST, 1)
    for _ in range(20_000):
        yield frame(CONTINUATION, b"\x00\x01a\x7f\x00" + b"b" * 127, 1)


def test_a_flood_of_pings_is_hung_up_on(mesh) -> None:
    with http2(mesh) as tls:
        assert ended(tls, pings())
        assert enrols(mesh)


@pytest.mark.parametrize("flood", [rapid_reset, endless_headers])
def test_calls_that_are_taken_back_or_never_begin_keep_nobody_waiting(mesh, flood) -> None:
    with http2(mesh) as tls:
        with contextlib.suppress(OSError):
            for data in flood():
                tls.sendall(data)
        assert enrols(mesh)


@pytest.mark.parametrize(
    ("compression", "size"),
    [(grpc.Compression.NoCompression, 64 << 10), (grpc.Compression.Gzip, 64 << 20)],
    ids=["large", "a bomb"],
)
def test_a_request_that_is_too_large_is_refused_and_uses_no_token(mesh, compression, size) -> None:
    text = clients.token(mesh, f"n-{secrets.token_hex(4)}")
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    credentials = grpc.ssl_channel_credentials(identity.pem(mesh.ca))
    with grpc.secure_channel(f"127.0.0.1:{port(mesh)}", credentials, options, compression) as channel:
        request = enrolment_pb2.EnrolRequest(token=text, csr=b"\x30" * size, idempotency_key="b" * 20)
        with pytest.raises(grpc.RpcError) as refused:
            enrolment_pb2_grpc.EnrolmentStub(channel).Enrol(request, timeout=30)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert hasattr(ask(clients.enrolment(mesh, mesh.ca), text), "chain")


def test_metadata_without_end_is_refused(mesh) -> None:
    stub = clients.enrolment(mesh, mesh.ca)
    request = enrolment_pb2.EnrolRequest(csr=make_csr(keys.generate_p256()), idempotency_key="b" * 20)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Enrol(request, timeout=20, metadata=[(f"x-{number}", "y" * 1000) for number in range(64)])
    assert refused.value.code() in {grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE}
    assert enrols(mesh)


@pytest.mark.parametrize("header", ["x-forwarded-client-cert", "x-spiffe-id", "writ-peer", "authorization"])
def test_a_header_names_nobody(mesh, header) -> None:
    """Who calls is read from the TLS peer: on the port for newcomers there is none, whatever is claimed."""
    stub = clients.enrolment(mesh, mesh.ca)
    claimed = [(header, f"spiffe://{TRUST_DOMAIN}/control-plane/operator/admin")]
    request = enrolment_pb2.EnrolRequest(csr=make_csr(keys.generate_p256()), idempotency_key="b" * 20)
    with pytest.raises(grpc.RpcError) as refused:
        stub.Enrol(request, timeout=20, metadata=claimed)
    assert refused.value.code() is grpc.StatusCode.PERMISSION_DENIED
