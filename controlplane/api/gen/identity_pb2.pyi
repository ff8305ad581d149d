from controlplane.api.gen import enrolment_pb2 as _enrolment_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RenewRequest(_message.Message):
    __slots__ = ("csr", "idempotency_key", "evidence")
    CSR_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    csr: bytes
    idempotency_key: str
    evidence: _enrolment_pb2.AttestationEvidence
    def __init__(self, csr: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., evidence: _Optional[_Union[_enrolment_pb2.AttestationEvidence, _Mapping]] = ...) -> None: ...

class RenewResponse(_message.Message):
    __slots__ = ("chain",)
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ...) -> None: ...

class IssueWorkloadRequest(_message.Message):
    __slots__ = ("workload", "csr")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    workload: str
    csr: bytes
    def __init__(self, workload: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class IssueWorkloadResponse(_message.Message):
    __slots__ = ("chain",)
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ...) -> None: ...

class MintJwtRequest(_message.Message):
    __slots__ = ("workload", "audience")
    WORKLOAD_FIELD_NUMBER: _ClassVar[int]
    AUDIENCE_FIELD_NUMBER: _ClassVar[int]
    workload: str
    audience: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, workload: _Optional[str] = ..., audience: _Optional[_Iterable[str]] = ...) -> None: ...

class MintJwtResponse(_message.Message):
    __slots__ = ("token", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_at: int
    def __init__(self, token: _Optional[str] = ..., expires_at: _Optional[int] = ...) -> None: ...
