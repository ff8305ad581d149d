"""Flower's own client of the fleet API over HTTP, and its stub over gRPC."""

import os
import sys

sys.path.pop(0)  # this folder holds a file of the same name
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"

import grpc
from flwr.proto import fab_pb2, fleet_pb2, fleet_pb2_grpc, heartbeat_pb2, message_pb2, node_pb2, run_pb2
from flwr.supernode.fleet_http_client import FleetHttpClient

print("ready", flush=True)
url, target, authority = sys.stdin.readline().split()
node = node_pb2.Node(node_id=7)
calls = {
    "ActivateNode": fleet_pb2.ActivateNodeRequest(),
    "SendNodeHeartbeat": heartbeat_pb2.SendNodeHeartbeatRequest(node=node, heartbeat_interval=30),
    "PullMessages": fleet_pb2.PullMessagesRequest(node=node),
    "GetRun": run_pb2.GetRunRequest(node=node, run_id=1),
    "GetFab": fab_pb2.GetFabRequest(node=node, hash_str="x"),
    "PushMessages": fleet_pb2.PushMessagesRequest(node=node),
    "PullObject": message_pb2.PullObjectRequest(node=node, object_id="x"),
    "PushObject": message_pb2.PushObjectRequest(node=node, object_id="x", object_content=b"y"),
    "ConfirmMessageReceived": message_pb2.ConfirmMessageReceivedRequest(node=node),
}
web = FleetHttpClient(url)
stub = fleet_pb2_grpc.FleetStub(grpc.insecure_channel(target, [("grpc.default_authority", authority)]))
for name, request in calls.items():
    getattr(web, name)(request)
    getattr(stub, name)(request, timeout=10)
