"""A real gRPC server that echoes whatever method it is asked, and remembers what it received."""

from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from typing import Self

import grpc


@dataclass
class Received:
    """One call: its metadata, and the messages that were whole."""

    method: str
    metadata: dict[str, str]
    messages: list[bytes] = field(default_factory=list)


class GrpcBackend(grpc.GenericRpcHandler):
    """Start with `with`; `port` is where it listens. `answer` is what each message is answered with, None: itself."""

    def __init__(self, answer: bytes | None = None) -> None:
        self.seen: list[Received] = []
        self._answer = answer
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        self._server.add_generic_rpc_handlers((self,))
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        metadata = {key: value for key, value in details.invocation_metadata if isinstance(value, str)}
        received = Received(details.method, metadata)
        self.seen.append(received)

        def echo(messages: Iterator[bytes], _context: grpc.ServicerContext) -> Iterator[bytes]:
            for message in messages:
                received.messages.append(message)
                yield message if self._answer is None else self._answer

        return grpc.stream_stream_rpc_method_handler(echo)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(None).wait()
