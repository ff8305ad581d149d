"""Two sidecars for all protocol tests of a file: one before an HTTP/1.1 server, one before a gRPC server."""

from collections.abc import Iterator

import pytest
from grpc_backend import GrpcBackend
from harness import Answering, Place, running


@pytest.fixture(scope="package")
def place() -> Iterator[Place]:
    web = Answering()
    with GrpcBackend() as rpc, running(web.server_port) as first, running(rpc.port) as second:
        first.backend = web
        yield Place(first, second, rpc)
    web.shutdown()
    web.server_close()
