"""When a control plane that is busy wants to be asked again."""

from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DETAILS = "grpc-status-details-bin"


def retry_after_s(error: grpc.aio.AioRpcError) -> float:
    """What a status says (google.rpc.RetryInfo), 0 if nothing. A hint: the caller bounds it."""
    trailing: Any = error.trailing_metadata() or ()  # the stubs know less of it than it is
    return next((told(value) for name, value in trailing if name == DETAILS), 0.0)


def told(details: bytes) -> float:
    """Seconds, as `google.rpc.Status` in bytes says."""
    status, later = status_pb2.Status(), error_details_pb2.RetryInfo()
    try:
        status.ParseFromString(details)
        found = any(detail.Unpack(later) for detail in status.details)
    except DecodeError:
        return 0.0
    return max(0.0, later.retry_delay.ToMilliseconds() / 1000) if found else 0.0
