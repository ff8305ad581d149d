"""Load the `etcd3` package on a current protobuf.

The modules generated from etcd's API that `etcd3` 0.12 ships date from before protobuf 3.20: since then the run time refuses
them at import ("descriptors cannot be created directly"). They are found by name in `sys.modules`, so fresh ones that
are registered there first take their place; `make proto` makes and checks them. The way out that protobuf names, the
pure Python implementation, would slow down every message of the process.
"""

import sys

from controlplane.store.etcd.gen import rpc_pb2, rpc_pb2_grpc

sys.modules.setdefault("etcd3.etcdrpc.rpc_pb2", rpc_pb2)
sys.modules.setdefault("etcd3.etcdrpc.rpc_pb2_grpc", rpc_pb2_grpc)

import etcd3  # noqa: E402 - after what it must find
from etcd3 import etcdrpc as rpc  # noqa: E402
from etcd3 import transactions  # noqa: E402

__all__ = ["etcd3", "rpc", "transactions"]
