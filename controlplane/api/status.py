"""Our errors as gRPC statuses: the one table, with the hint in the status details."""

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from controlplane import errors

CODES: dict[type[errors.ControlPlaneError], int] = {
    errors.InvalidError: code_pb2.INVALID_ARGUMENT,
    errors.NotFoundError: code_pb2.NOT_FOUND,
    errors.ExistsError: code_pb2.ALREADY_EXISTS,
    errors.ConflictError: code_pb2.ABORTED,
    errors.DeniedError: code_pb2.PERMISSION_DENIED,
    errors.ReattestError: code_pb2.UNAUTHENTICATED,
    errors.PreconditionError: code_pb2.FAILED_PRECONDITION,
    errors.BusyError: code_pb2.RESOURCE_EXHAUSTED,
    errors.UnavailableError: code_pb2.UNAVAILABLE,
    errors.CompactedError: code_pb2.OUT_OF_RANGE,
    errors.CorruptError: code_pb2.DATA_LOSS,
}


def to_status(error: errors.ControlPlaneError) -> grpc.Status:
    """The most specific code of the table; unknown kinds are INTERNAL."""
    code = next((CODES[kind] for kind in type(error).__mro__ if kind in CODES), code_pb2.INTERNAL)
    info = error_details_pb2.ErrorInfo(
        reason=type(error).__name__, domain="writ", metadata={"hint": error.hint}
    )
    details: list[Message] = [info]
    if isinstance(error, errors.BusyError) and error.retry_s:
        later = error_details_pb2.RetryInfo()
        later.retry_delay.FromMilliseconds(int(error.retry_s * 1000))
        details.append(later)
    return rpc_status.to_status(
        status_pb2.Status(code=code, message=str(error), details=list(map(_packed, details)))
    )


def _packed(message: Message) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def wants_evidence(error: grpc.RpcError) -> bool:
    """Did the call fail because it came without evidence?"""
    return bool(error.code() is grpc.StatusCode.UNAUTHENTICATED)
