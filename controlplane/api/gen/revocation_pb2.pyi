from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeSelector(_message.Message):
    __slots__ = ("nodes", "site", "labels", "attributes", "key", "serial", "authority")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NODES_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedScalarFieldContainer[str]
    site: str
    labels: _containers.ScalarMap[str, str]
    attributes: _containers.RepeatedScalarFieldContainer[str]
    key: str
    serial: str
    authority: str
    def __init__(self, nodes: _Optional[_Iterable[str]] = ..., site: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., attributes: _Optional[_Iterable[str]] = ..., key: _Optional[str] = ..., serial: _Optional[str] = ..., authority: _Optional[str] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("selector", "reason", "dry_run")
    SELECTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    selector: NodeSelector
    reason: str
    dry_run: bool
    def __init__(self, selector: _Optional[_Union[NodeSelector, _Mapping]] = ..., reason: _Optional[str] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("nodes", "generation", "revoked_at_ms")
    NODES_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[RevokedNode]
    generation: int
    revoked_at_ms: int
    def __init__(self, nodes: _Optional[_Iterable[_Union[RevokedNode, _Mapping]]] = ..., generation: _Optional[int] = ..., revoked_at_ms: _Optional[int] = ...) -> None: ...

class RevokedNode(_message.Message):
    __slots__ = ("node", "spiffe_id", "state", "epoch", "not_after", "generation", "error")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    node: str
    spiffe_id: str
    state: str
    epoch: int
    not_after: int
    generation: int
    error: str
    def __init__(self, node: _Optional[str] = ..., spiffe_id: _Optional[str] = ..., state: _Optional[str] = ..., epoch: _Optional[int] = ..., not_after: _Optional[int] = ..., generation: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class QuarantineRequest(_message.Message):
    __slots__ = ("node", "site", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    reason: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class NodeName(_message.Message):
    __slots__ = ("node", "site")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ...) -> None: ...

class StateResponse(_message.Message):
    __slots__ = ("node", "generation", "at_ms")
    NODE_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    node: RevokedNode
    generation: int
    at_ms: int
    def __init__(self, node: _Optional[_Union[RevokedNode, _Mapping]] = ..., generation: _Optional[int] = ..., at_ms: _Optional[int] = ...) -> None: ...

class GetCrlsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetCrlsResponse(_message.Message):
    __slots__ = ("crls",)
    CRLS_FIELD_NUMBER: _ClassVar[int]
    crls: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, crls: _Optional[_Iterable[bytes]] = ...) -> None: ...
