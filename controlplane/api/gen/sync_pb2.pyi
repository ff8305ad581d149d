from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SyncRequest(_message.Message):
    __slots__ = ("hello", "enforcing", "health", "receipt")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ENFORCING_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    enforcing: Enforcing
    health: Health
    receipt: bytes
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., enforcing: _Optional[_Union[Enforcing, _Mapping]] = ..., health: _Optional[_Union[Health, _Mapping]] = ..., receipt: _Optional[bytes] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("agent_version", "envoy_version", "features", "ingress_address", "trust_digest", "blob_digests", "evidence_key", "held")
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVOY_VERSION_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    INGRESS_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TRUST_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BLOB_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_KEY_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    agent_version: str
    envoy_version: str
    features: _containers.RepeatedScalarFieldContainer[str]
    ingress_address: str
    trust_digest: str
    blob_digests: _containers.RepeatedScalarFieldContainer[str]
    evidence_key: bytes
    held: Held
    def __init__(self, agent_version: _Optional[str] = ..., envoy_version: _Optional[str] = ..., features: _Optional[_Iterable[str]] = ..., ingress_address: _Optional[str] = ..., trust_digest: _Optional[str] = ..., blob_digests: _Optional[_Iterable[str]] = ..., evidence_key: _Optional[bytes] = ..., held: _Optional[_Union[Held, _Mapping]] = ...) -> None: ...

class Held(_message.Message):
    __slots__ = ("heartbeat", "delegation")
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    heartbeat: bytes
    delegation: bytes
    def __init__(self, heartbeat: _Optional[bytes] = ..., delegation: _Optional[bytes] = ...) -> None: ...

class Enforcing(_message.Message):
    __slots__ = ("generation", "policy_version", "ticket_generation", "error", "staged_versions", "receipt")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    TICKET_GENERATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    STAGED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    generation: int
    policy_version: int
    ticket_generation: int
    error: str
    staged_versions: _containers.RepeatedScalarFieldContainer[int]
    receipt: bytes
    def __init__(self, generation: _Optional[int] = ..., policy_version: _Optional[int] = ..., ticket_generation: _Optional[int] = ..., error: _Optional[str] = ..., staged_versions: _Optional[_Iterable[int]] = ..., receipt: _Optional[bytes] = ...) -> None: ...

class Health(_message.Message):
    __slots__ = ("lease_until", "records", "gaps", "not_cut", "shadow", "cannot_cut", "evidence_unwritable", "clock_ms", "unreachable")
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    RECORDS_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    NOT_CUT_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    CANNOT_CUT_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_UNWRITABLE_FIELD_NUMBER: _ClassVar[int]
    CLOCK_MS_FIELD_NUMBER: _ClassVar[int]
    UNREACHABLE_FIELD_NUMBER: _ClassVar[int]
    lease_until: int
    records: int
    gaps: int
    not_cut: _containers.RepeatedScalarFieldContainer[str]
    shadow: Shadow
    cannot_cut: bool
    evidence_unwritable: bool
    clock_ms: int
    unreachable: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lease_until: _Optional[int] = ..., records: _Optional[int] = ..., gaps: _Optional[int] = ..., not_cut: _Optional[_Iterable[str]] = ..., shadow: _Optional[_Union[Shadow, _Mapping]] = ..., cannot_cut: _Optional[bool] = ..., evidence_unwritable: _Optional[bool] = ..., clock_ms: _Optional[int] = ..., unreachable: _Optional[_Iterable[str]] = ...) -> None: ...

class Shadow(_message.Message):
    __slots__ = ("version", "decided", "newly_allowed", "newly_denied", "flows")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    NEWLY_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    NEWLY_DENIED_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    version: int
    decided: int
    newly_allowed: int
    newly_denied: int
    flows: _containers.RepeatedCompositeFieldContainer[Difference]
    def __init__(self, version: _Optional[int] = ..., decided: _Optional[int] = ..., newly_allowed: _Optional[int] = ..., newly_denied: _Optional[int] = ..., flows: _Optional[_Iterable[_Union[Difference, _Mapping]]] = ...) -> None: ...

class Difference(_message.Message):
    __slots__ = ("direction", "peer", "action", "resource", "allowed", "policy", "count")
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    direction: str
    peer: str
    action: str
    resource: str
    allowed: bool
    policy: str
    count: int
    def __init__(self, direction: _Optional[str] = ..., peer: _Optional[str] = ..., action: _Optional[str] = ..., resource: _Optional[str] = ..., allowed: _Optional[bool] = ..., policy: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Reissue(_message.Message):
    __slots__ = ("cas", "within_s")
    CAS_FIELD_NUMBER: _ClassVar[int]
    WITHIN_S_FIELD_NUMBER: _ClassVar[int]
    cas: _containers.RepeatedScalarFieldContainer[bytes]
    within_s: int
    def __init__(self, cas: _Optional[_Iterable[bytes]] = ..., within_s: _Optional[int] = ...) -> None: ...

class SyncResponse(_message.Message):
    __slots__ = ("heartbeat", "trust_document", "delegation", "root_changes", "tickets", "blobs", "workloads", "reissue", "spread_ms", "receipts_along", "renew_serial")
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    ROOT_CHANGES_FIELD_NUMBER: _ClassVar[int]
    TICKETS_FIELD_NUMBER: _ClassVar[int]
    BLOBS_FIELD_NUMBER: _ClassVar[int]
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    REISSUE_FIELD_NUMBER: _ClassVar[int]
    SPREAD_MS_FIELD_NUMBER: _ClassVar[int]
    RECEIPTS_ALONG_FIELD_NUMBER: _ClassVar[int]
    RENEW_SERIAL_FIELD_NUMBER: _ClassVar[int]
    heartbeat: bytes
    trust_document: bytes
    delegation: bytes
    root_changes: _containers.RepeatedScalarFieldContainer[bytes]
    tickets: _containers.RepeatedScalarFieldContainer[bytes]
    blobs: _containers.RepeatedScalarFieldContainer[bytes]
    workloads: bytes
    reissue: Reissue
    spread_ms: int
    receipts_along: bool
    renew_serial: str
    def __init__(self, heartbeat: _Optional[bytes] = ..., trust_document: _Optional[bytes] = ..., delegation: _Optional[bytes] = ..., root_changes: _Optional[_Iterable[bytes]] = ..., tickets: _Optional[_Iterable[bytes]] = ..., blobs: _Optional[_Iterable[bytes]] = ..., workloads: _Optional[bytes] = ..., reissue: _Optional[_Union[Reissue, _Mapping]] = ..., spread_ms: _Optional[int] = ..., receipts_along: _Optional[bool] = ..., renew_serial: _Optional[str] = ...) -> None: ...
