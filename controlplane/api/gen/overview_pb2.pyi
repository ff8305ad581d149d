from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetOverviewRequest(_message.Message):
    __slots__ = ("limit",)
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    limit: int
    def __init__(self, limit: _Optional[int] = ...) -> None: ...

class MeshOverview(_message.Message):
    __slots__ = ("trust_domain", "version", "root_sha256", "now_ms", "generation", "policy_min", "policy_now", "svid_lifetime_s", "lease_s", "nodes", "by_state", "connected", "enforcing", "certificates", "authorities", "replicas", "attention", "attention_total", "troubles", "listed", "store")
    class ByStateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class TroublesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROOT_SHA256_FIELD_NUMBER: _ClassVar[int]
    NOW_MS_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_MIN_FIELD_NUMBER: _ClassVar[int]
    POLICY_NOW_FIELD_NUMBER: _ClassVar[int]
    SVID_LIFETIME_S_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    BY_STATE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ENFORCING_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_FIELD_NUMBER: _ClassVar[int]
    ATTENTION_TOTAL_FIELD_NUMBER: _ClassVar[int]
    TROUBLES_FIELD_NUMBER: _ClassVar[int]
    LISTED_FIELD_NUMBER: _ClassVar[int]
    STORE_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    version: str
    root_sha256: str
    now_ms: int
    generation: int
    policy_min: int
    policy_now: int
    svid_lifetime_s: int
    lease_s: int
    nodes: int
    by_state: _containers.ScalarMap[str, int]
    connected: int
    enforcing: int
    certificates: _containers.RepeatedCompositeFieldContainer[ExpiryBucket]
    authorities: _containers.RepeatedCompositeFieldContainer[AuthorityEnd]
    replicas: _containers.RepeatedCompositeFieldContainer[ReplicaView]
    attention: _containers.RepeatedCompositeFieldContainer[NodeView]
    attention_total: int
    troubles: _containers.ScalarMap[str, int]
    listed: _containers.RepeatedCompositeFieldContainer[NodeView]
    store: Store
    def __init__(self, trust_domain: _Optional[str] = ..., version: _Optional[str] = ..., root_sha256: _Optional[str] = ..., now_ms: _Optional[int] = ..., generation: _Optional[int] = ..., policy_min: _Optional[int] = ..., policy_now: _Optional[int] = ..., svid_lifetime_s: _Optional[int] = ..., lease_s: _Optional[int] = ..., nodes: _Optional[int] = ..., by_state: _Optional[_Mapping[str, int]] = ..., connected: _Optional[int] = ..., enforcing: _Optional[int] = ..., certificates: _Optional[_Iterable[_Union[ExpiryBucket, _Mapping]]] = ..., authorities: _Optional[_Iterable[_Union[AuthorityEnd, _Mapping]]] = ..., replicas: _Optional[_Iterable[_Union[ReplicaView, _Mapping]]] = ..., attention: _Optional[_Iterable[_Union[NodeView, _Mapping]]] = ..., attention_total: _Optional[int] = ..., troubles: _Optional[_Mapping[str, int]] = ..., listed: _Optional[_Iterable[_Union[NodeView, _Mapping]]] = ..., store: _Optional[_Union[Store, _Mapping]] = ...) -> None: ...

class Store(_message.Message):
    __slots__ = ("kind", "members", "room")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    ROOM_FIELD_NUMBER: _ClassVar[int]
    kind: str
    members: _containers.RepeatedCompositeFieldContainer[StoreMember]
    room: int
    def __init__(self, kind: _Optional[str] = ..., members: _Optional[_Iterable[_Union[StoreMember, _Mapping]]] = ..., room: _Optional[int] = ...) -> None: ...

class StoreMember(_message.Message):
    __slots__ = ("name", "up", "leads", "version", "size", "errors")
    NAME_FIELD_NUMBER: _ClassVar[int]
    UP_FIELD_NUMBER: _ClassVar[int]
    LEADS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ERRORS_FIELD_NUMBER: _ClassVar[int]
    name: str
    up: bool
    leads: bool
    version: str
    size: int
    errors: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, name: _Optional[str] = ..., up: _Optional[bool] = ..., leads: _Optional[bool] = ..., version: _Optional[str] = ..., size: _Optional[int] = ..., errors: _Optional[_Iterable[str]] = ...) -> None: ...

class ExpiryBucket(_message.Message):
    __slots__ = ("up_to_s", "count")
    UP_TO_S_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    up_to_s: int
    count: int
    def __init__(self, up_to_s: _Optional[int] = ..., count: _Optional[int] = ...) -> None: ...

class AuthorityEnd(_message.Message):
    __slots__ = ("kind", "replica", "not_after", "not_before")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    replica: str
    not_after: int
    not_before: int
    def __init__(self, kind: _Optional[str] = ..., replica: _Optional[str] = ..., not_after: _Optional[int] = ..., not_before: _Optional[int] = ...) -> None: ...

class ReplicaView(_message.Message):
    __slots__ = ("name", "connected")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    connected: int
    def __init__(self, name: _Optional[str] = ..., connected: _Optional[int] = ...) -> None: ...

class NodeView(_message.Message):
    __slots__ = ("node", "jurisdiction", "state", "connected", "generation", "policy_version", "policy_received", "not_after", "lease_until", "gaps", "troubles")
    NODE_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    POLICY_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    TROUBLES_FIELD_NUMBER: _ClassVar[int]
    node: str
    jurisdiction: str
    state: str
    connected: bool
    generation: int
    policy_version: int
    policy_received: int
    not_after: int
    lease_until: int
    gaps: int
    troubles: _containers.RepeatedCompositeFieldContainer[Trouble]
    def __init__(self, node: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., state: _Optional[str] = ..., connected: _Optional[bool] = ..., generation: _Optional[int] = ..., policy_version: _Optional[int] = ..., policy_received: _Optional[int] = ..., not_after: _Optional[int] = ..., lease_until: _Optional[int] = ..., gaps: _Optional[int] = ..., troubles: _Optional[_Iterable[_Union[Trouble, _Mapping]]] = ...) -> None: ...

class Trouble(_message.Message):
    __slots__ = ("kind", "text")
    KIND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    text: str
    def __init__(self, kind: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...
