"""A process of nodes that renew once each, a bounded number at a time, on connections that stand already. Driven by `issuance`.

python -m benchmarks.renewers FLEET ADDRESS TRUST-DOMAIN FIRST COUNT IN-FLIGHT
"""

import asyncio
import base64
import json
import os
import sys
import time
from pathlib import Path

os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "ECDHE-RSA-AES256-GCM-SHA384")
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

import grpc
import uvloop

from certs import keys
from certs.csr import make_csr
from controlplane.api.gen import identity_pb2, identity_pb2_grpc

OPENING = 32


async def _open(channel: grpc.aio.Channel) -> None:
    """A call that is refused needs the handshake, and nothing of what is measured."""
    try:
        await identity_pb2_grpc.IdentityStub(channel).Renew(identity_pb2.RenewRequest(), timeout=60)
    except grpc.aio.AioRpcError as exc:
        if exc.code() is not grpc.StatusCode.INVALID_ARGUMENT:
            raise


async def main(fleet: Path, address: str, domain: str, first: int, count: int, in_flight: int) -> None:
    document = json.loads(fleet.read_text())
    ca, key = base64.b64decode(document["ca"]), document["key"].encode()
    options = [("grpc.ssl_target_name_override", f"control-plane.{domain}"), ("grpc.enable_http_proxy", 0)]
    channels, requests = [], []
    for number in range(first, first + count):
        chain = base64.b64decode(document["chains"][number])
        credentials = grpc.ssl_channel_credentials(ca, key, chain)
        channels.append(grpc.aio.secure_channel(address, credentials, options=options))
        request = identity_pb2.RenewRequest(
            csr=make_csr(keys.generate_p256()), idempotency_key=f"renew-{number:014d}"
        )
        requests.append(request)
    for start in range(0, count, OPENING):
        await asyncio.gather(*(_open(one) for one in channels[start : start + OPENING]))
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)
    waiting = iter(range(count))
    took: list[float] = []
    certificates: set[bytes] = set()
    started = time.monotonic()

    async def work() -> None:
        for number in waiting:
            began = time.monotonic()
            reply = await identity_pb2_grpc.IdentityStub(channels[number]).Renew(requests[number], timeout=60)
            took.append(time.monotonic() - began)
            certificates.add(reply.chain[0])

    await asyncio.gather(*(work() for _ in range(in_flight)))
    print(
        json.dumps({"from": started, "to": time.monotonic(), "took": took, "distinct": len(certificates)}),
        flush=True,
    )
    os._exit(0)  # thousands of channels take longer to close than to use


if __name__ == "__main__":
    arguments = sys.argv[1:]
    uvloop.run(main(Path(arguments[0]), arguments[1], arguments[2], *map(int, arguments[3:])))
