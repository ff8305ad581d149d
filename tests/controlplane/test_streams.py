"""What a stream carries up and down, beside documents; and when it ends by itself. Real gRPC, bare nodes."""

import asyncio

import grpc
import pytest
from clients import ended, enrolled, enrolment, root_and_ca, token
from embedded import control_plane

from agent import identity
from certs import keys
from controlplane.api.gen import admin_pb2, sync_pb2, sync_pb2_grpc
from controlplane.cli.demo.mesh import TRUST_DOMAIN
from policies import documents as d
from policies import payloads

HELLO = sync_pb2.SyncRequest(hello=sync_pb2.Hello(agent_version="1", ingress_address="127.0.0.1:7443"))
pytestmark = pytest.mark.timeout(60)


@pytest.fixture(scope="module")
def mesh(tmp_path_factory):
    made = control_plane(tmp_path_factory.mktemp("mesh"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def holder(mesh, tmp_path_factory):
    _, ca = root_and_ca(mesh, token(mesh, "probe"), tmp_path_factory.mktemp("t") / "token")
    return enrolled(mesh, enrolment(mesh, ca), "n1")


def channel(mesh, holder) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        mesh.context().ca.read_bytes(), keys.dump_private(holder.key, None), identity.pem(*holder.chain)
    )
    options = [("grpc.ssl_target_name_override", f"control-plane.{TRUST_DOMAIN}")]
    return grpc.aio.secure_channel(mesh.replicas[0].api, credentials, options=options)


def receipt(holder, generation: int, key=None) -> bytes:
    name = f"spiffe://{TRUST_DOMAIN}/fr/paris/n1"
    said = payloads.dump_statement(TRUST_DOMAIN, node=name, generation=generation, at_ms=1)
    return payloads.seal(
        d.TYPE_RECEIPT, said, ("node", lambda data: keys.sign(key or holder.key, data))
    ).to_json()


def newest(mesh) -> int:
    return int(mesh.call("GetStatus", admin_pb2.GetStatusRequest()).generation)


def confirmed(mesh, generation: int) -> list[bytes]:
    wanted = admin_pb2.WatchEnforcementRequest(generation=generation)
    events = mesh.client.stream(mesh.client.stub.WatchEnforcement, wanted, timeout_s=10)
    return [event.receipt for event in events if event.enforced]


@pytest.mark.parametrize("along", [True, False])
async def test_a_receipt_counts_alone_and_beside_what_is_enforced(mesh, holder, along) -> None:
    generation = await asyncio.to_thread(newest, mesh)
    signed = receipt(holder, generation)
    said = sync_pb2.Enforcing(generation=generation, receipt=signed if along else b"")
    async with channel(mesh, holder) as open_:
        call = sync_pb2_grpc.SyncStub(open_).Connect()
        await call.write(HELLO)
        first = await call.read()
        assert (first.receipts_along, first.spread_ms <= 60_000) == (True, True)
        await call.write(sync_pb2.SyncRequest(enforcing=said))
        if not along:
            await call.write(sync_pb2.SyncRequest(receipt=signed))
        assert await asyncio.to_thread(confirmed, mesh, generation) == [signed]
        call.cancel()
    await asyncio.to_thread(mesh.site, f"other-{along}".lower(), "DE")  # the next generation


async def test_a_receipt_by_another_key_ends_the_stream_beside_what_is_enforced_too(mesh, holder) -> None:
    forged = receipt(holder, 1, keys.generate_p256())
    async with channel(mesh, holder) as open_:
        call = sync_pb2_grpc.SyncStub(open_).Connect()
        await call.write(HELLO)
        await call.read()
        await call.write(sync_pb2.SyncRequest(enforcing=sync_pb2.Enforcing(generation=1, receipt=forged)))
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            while await call.read() is not grpc.aio.EOF:
                pass
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_ends_with_the_certificate_that_opened_it_and_is_not_refused(mesh, holder) -> None:
    about_to_end = await asyncio.to_thread(ended, mesh, holder, "n1", -3)
    async with channel(mesh, about_to_end) as open_:
        call = sync_pb2_grpc.SyncStub(open_).Connect()
        await call.write(HELLO)
        assert (await call.read()).heartbeat
        while await asyncio.wait_for(call.read(), 10) is not grpc.aio.EOF:
            pass
        assert await call.code() is grpc.StatusCode.OK
