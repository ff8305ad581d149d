"""The transports of `a2a-sdk`: JSON-RPC, REST, gRPC. The server that answers is the test's own."""

import asyncio
import sys

sys.path.pop(0)  # this folder holds a file of the same name

import grpc
import httpx
from a2a.client.transports.grpc import GrpcTransport
from a2a.client.transports.jsonrpc import JsonRpcTransport
from a2a.client.transports.rest import RestTransport
from a2a.types import a2a_pb2 as a2a

MESSAGE = a2a.SendMessageRequest(
    message=a2a.Message(message_id="m1", role=a2a.ROLE_USER, parts=[a2a.Part(text="hello")])
)


async def main() -> None:
    print("ready", flush=True)
    url, target, authority = sys.stdin.readline().split()
    card = a2a.AgentCard()
    channel = grpc.aio.insecure_channel(target, [("grpc.default_authority", authority)])
    async with httpx.AsyncClient() as http:
        for transport in (
            JsonRpcTransport(http, card, f"{url}/a2a"),
            RestTransport(http, card, url),
            GrpcTransport(channel, card),
        ):
            await transport.send_message(MESSAGE)
            async for _ in transport.send_message_streaming(MESSAGE):
                pass
            await transport.get_task(a2a.GetTaskRequest(id="t1"))
            await transport.cancel_task(a2a.CancelTaskRequest(id="t1"))
            try:
                await transport.list_task_push_notification_configs(
                    a2a.ListTaskPushNotificationConfigsRequest(task_id="t1")
                )
            except Exception as exc:
                print("denied:", type(exc).__name__, exc, flush=True)
            else:
                raise SystemExit("administration was permitted")


asyncio.run(main())
