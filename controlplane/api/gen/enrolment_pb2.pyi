from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListRootChangesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRootChangesResponse(_message.Message):
    __slots__ = ("changes",)
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, changes: _Optional[_Iterable[bytes]] = ...) -> None: ...

class EnrolRequest(_message.Message):
    __slots__ = ("token", "csr", "idempotency_key", "evidence")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    token: str
    csr: bytes
    idempotency_key: str
    evidence: AttestationEvidence
    def __init__(self, token: _Optional[str] = ..., csr: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., evidence: _Optional[_Union[AttestationEvidence, _Mapping]] = ...) -> None: ...

class AttestationEvidence(_message.Message):
    __slots__ = ("x509pop", "kubernetes")
    X509POP_FIELD_NUMBER: _ClassVar[int]
    KUBERNETES_FIELD_NUMBER: _ClassVar[int]
    x509pop: X509Proof
    kubernetes: str
    def __init__(self, x509pop: _Optional[_Union[X509Proof, _Mapping]] = ..., kubernetes: _Optional[str] = ...) -> None: ...

class X509Proof(_message.Message):
    __slots__ = ("chain", "nonce", "signature")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    nonce: bytes
    signature: bytes
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., nonce: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class EnrolResponse(_message.Message):
    __slots__ = ("chain", "root", "delegation")
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    root: bytes
    delegation: bytes
    def __init__(self, chain: _Optional[_Iterable[bytes]] = ..., root: _Optional[bytes] = ..., delegation: _Optional[bytes] = ...) -> None: ...

class ChallengeRequest(_message.Message):
    __slots__ = ("leaf",)
    LEAF_FIELD_NUMBER: _ClassVar[int]
    leaf: bytes
    def __init__(self, leaf: _Optional[bytes] = ...) -> None: ...

class ChallengeResponse(_message.Message):
    __slots__ = ("nonce",)
    NONCE_FIELD_NUMBER: _ClassVar[int]
    nonce: bytes
    def __init__(self, nonce: _Optional[bytes] = ...) -> None: ...

class RenewExpiredRequest(_message.Message):
    __slots__ = ("leaf", "csr", "nonce", "signature", "idempotency_key", "evidence")
    LEAF_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    NONCE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    leaf: bytes
    csr: bytes
    nonce: bytes
    signature: bytes
    idempotency_key: str
    evidence: AttestationEvidence
    def __init__(self, leaf: _Optional[bytes] = ..., csr: _Optional[bytes] = ..., nonce: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., idempotency_key: _Optional[str] = ..., evidence: _Optional[_Union[AttestationEvidence, _Mapping]] = ...) -> None: ...
