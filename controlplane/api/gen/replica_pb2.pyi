from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FollowRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Agents(_message.Message):
    __slots__ = ("agents",)
    AGENTS_FIELD_NUMBER: _ClassVar[int]
    agents: _containers.RepeatedCompositeFieldContainer[AgentReport]
    def __init__(self, agents: _Optional[_Iterable[_Union[AgentReport, _Mapping]]] = ...) -> None: ...

class AgentReport(_message.Message):
    __slots__ = ("spiffe_id", "agent_version", "envoy_version", "connected", "generation", "policy_version", "staged_versions", "lease_until", "last_seen", "error", "not_cut", "receipt_generation", "receipt_at_ms", "receipt", "certificate", "features")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVOY_VERSION_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    STAGED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NOT_CUT_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_GENERATION_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_AT_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    agent_version: str
    envoy_version: str
    connected: bool
    generation: int
    policy_version: int
    staged_versions: _containers.RepeatedScalarFieldContainer[int]
    lease_until: int
    last_seen: int
    error: str
    not_cut: _containers.RepeatedScalarFieldContainer[str]
    receipt_generation: int
    receipt_at_ms: int
    receipt: bytes
    certificate: bytes
    features: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, spiffe_id: _Optional[str] = ..., agent_version: _Optional[str] = ..., envoy_version: _Optional[str] = ..., connected: _Optional[bool] = ..., generation: _Optional[int] = ..., policy_version: _Optional[int] = ..., staged_versions: _Optional[_Iterable[int]] = ..., lease_until: _Optional[int] = ..., last_seen: _Optional[int] = ..., error: _Optional[str] = ..., not_cut: _Optional[_Iterable[str]] = ..., receipt_generation: _Optional[int] = ..., receipt_at_ms: _Optional[int] = ..., receipt: _Optional[bytes] = ..., certificate: _Optional[bytes] = ..., features: _Optional[_Iterable[str]] = ...) -> None: ...
