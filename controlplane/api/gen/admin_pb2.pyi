from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Site(_message.Message):
    __slots__ = ("name", "jurisdiction", "labels")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    name: str
    jurisdiction: str
    labels: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListSitesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListSitesResponse(_message.Message):
    __slots__ = ("sites",)
    SITES_FIELD_NUMBER: _ClassVar[int]
    sites: _containers.RepeatedCompositeFieldContainer[Site]
    def __init__(self, sites: _Optional[_Iterable[_Union[Site, _Mapping]]] = ...) -> None: ...

class CreateTokenRequest(_message.Message):
    __slots__ = ("node", "site", "ttl_s", "attributes")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    TTL_S_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    ttl_s: int
    attributes: Attributes
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ..., ttl_s: _Optional[int] = ..., attributes: _Optional[_Union[Attributes, _Mapping]] = ...) -> None: ...

class CreateTokenResponse(_message.Message):
    __slots__ = ("token", "expires_at")
    TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    token: str
    expires_at: int
    def __init__(self, token: _Optional[str] = ..., expires_at: _Optional[int] = ...) -> None: ...

class ListAttestorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAttestorsResponse(_message.Message):
    __slots__ = ("attestors",)
    ATTESTORS_FIELD_NUMBER: _ClassVar[int]
    attestors: _containers.RepeatedCompositeFieldContainer[Attestor]
    def __init__(self, attestors: _Optional[_Iterable[_Union[Attestor, _Mapping]]] = ...) -> None: ...

class Attestor(_message.Message):
    __slots__ = ("kind", "tier", "reattest_s", "facts")
    class FactsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KIND_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    REATTEST_S_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    tier: int
    reattest_s: int
    facts: _containers.ScalarMap[str, str]
    def __init__(self, kind: _Optional[str] = ..., tier: _Optional[int] = ..., reattest_s: _Optional[int] = ..., facts: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Attributes(_message.Message):
    __slots__ = ("tier", "groups", "purposes", "regions", "class_floor", "class_ceiling")
    TIER_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    REGIONS_FIELD_NUMBER: _ClassVar[int]
    CLASS_FLOOR_FIELD_NUMBER: _ClassVar[int]
    CLASS_CEILING_FIELD_NUMBER: _ClassVar[int]
    tier: int
    groups: _containers.RepeatedScalarFieldContainer[str]
    purposes: _containers.RepeatedScalarFieldContainer[str]
    regions: _containers.RepeatedScalarFieldContainer[str]
    class_floor: int
    class_ceiling: int
    def __init__(self, tier: _Optional[int] = ..., groups: _Optional[_Iterable[str]] = ..., purposes: _Optional[_Iterable[str]] = ..., regions: _Optional[_Iterable[str]] = ..., class_floor: _Optional[int] = ..., class_ceiling: _Optional[int] = ...) -> None: ...

class Node(_message.Message):
    __slots__ = ("spiffe_id", "node", "site", "jurisdiction", "attributes", "epoch", "floor", "state", "reason", "address", "serial", "not_after", "connected", "generation", "policy_version", "last_seen", "agent_version", "envoy_version", "lease_until", "error", "not_cut", "attested_by", "attested_at", "tier")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    AGENT_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENVOY_VERSION_FIELD_NUMBER: _ClassVar[int]
    LEASE_UNTIL_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    NOT_CUT_FIELD_NUMBER: _ClassVar[int]
    ATTESTED_BY_FIELD_NUMBER: _ClassVar[int]
    ATTESTED_AT_FIELD_NUMBER: _ClassVar[int]
    TIER_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    node: str
    site: str
    jurisdiction: str
    attributes: Attributes
    epoch: int
    floor: int
    state: str
    reason: str
    address: str
    serial: str
    not_after: int
    connected: bool
    generation: int
    policy_version: int
    last_seen: int
    agent_version: str
    envoy_version: str
    lease_until: int
    error: str
    not_cut: _containers.RepeatedScalarFieldContainer[str]
    attested_by: str
    attested_at: int
    tier: int
    def __init__(self, spiffe_id: _Optional[str] = ..., node: _Optional[str] = ..., site: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., attributes: _Optional[_Union[Attributes, _Mapping]] = ..., epoch: _Optional[int] = ..., floor: _Optional[int] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., address: _Optional[str] = ..., serial: _Optional[str] = ..., not_after: _Optional[int] = ..., connected: _Optional[bool] = ..., generation: _Optional[int] = ..., policy_version: _Optional[int] = ..., last_seen: _Optional[int] = ..., agent_version: _Optional[str] = ..., envoy_version: _Optional[str] = ..., lease_until: _Optional[int] = ..., error: _Optional[str] = ..., not_cut: _Optional[_Iterable[str]] = ..., attested_by: _Optional[str] = ..., attested_at: _Optional[int] = ..., tier: _Optional[int] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ("site",)
    SITE_FIELD_NUMBER: _ClassVar[int]
    site: str
    def __init__(self, site: _Optional[str] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    def __init__(self, nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ...) -> None: ...

class GetNodeRequest(_message.Message):
    __slots__ = ("node", "site")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ...) -> None: ...

class SetNodeRequest(_message.Message):
    __slots__ = ("node", "site", "attributes", "expected_revision")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    attributes: Attributes
    expected_revision: int
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ..., attributes: _Optional[_Union[Attributes, _Mapping]] = ..., expected_revision: _Optional[int] = ...) -> None: ...

class SetNodeResponse(_message.Message):
    __slots__ = ("node", "narrowed", "generation")
    NODE_FIELD_NUMBER: _ClassVar[int]
    NARROWED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    node: Node
    narrowed: bool
    generation: int
    def __init__(self, node: _Optional[_Union[Node, _Mapping]] = ..., narrowed: _Optional[bool] = ..., generation: _Optional[int] = ...) -> None: ...

class RevokeNodeRequest(_message.Message):
    __slots__ = ("node", "site", "reason")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    reason: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class RevokeNodeResponse(_message.Message):
    __slots__ = ("generation", "revoked_at_ms")
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    generation: int
    revoked_at_ms: int
    def __init__(self, generation: _Optional[int] = ..., revoked_at_ms: _Optional[int] = ...) -> None: ...

class WatchEnforcementRequest(_message.Message):
    __slots__ = ("generation",)
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    generation: int
    def __init__(self, generation: _Optional[int] = ...) -> None: ...

class Enforcement(_message.Message):
    __slots__ = ("spiffe_id", "enforced", "at_ms", "trust_until", "receipt", "last", "waiting", "certificate", "node_cas")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    TRUST_UNTIL_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    NODE_CAS_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    enforced: bool
    at_ms: int
    trust_until: int
    receipt: bytes
    last: bool
    waiting: int
    certificate: bytes
    node_cas: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, spiffe_id: _Optional[str] = ..., enforced: _Optional[bool] = ..., at_ms: _Optional[int] = ..., trust_until: _Optional[int] = ..., receipt: _Optional[bytes] = ..., last: _Optional[bool] = ..., waiting: _Optional[int] = ..., certificate: _Optional[bytes] = ..., node_cas: _Optional[_Iterable[bytes]] = ...) -> None: ...

class Resource(_message.Message):
    __slots__ = ("kind", "name", "node", "site", "groups", "owner", "max_class", "port")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    MAX_CLASS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    node: str
    site: str
    groups: _containers.RepeatedScalarFieldContainer[str]
    owner: str
    max_class: int
    port: int
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., node: _Optional[str] = ..., site: _Optional[str] = ..., groups: _Optional[_Iterable[str]] = ..., owner: _Optional[str] = ..., max_class: _Optional[int] = ..., port: _Optional[int] = ...) -> None: ...

class Group(_message.Message):
    __slots__ = ("kind", "name", "within")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WITHIN_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    within: Within
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., within: _Optional[_Union[Within, _Mapping]] = ...) -> None: ...

class Within(_message.Message):
    __slots__ = ("groups",)
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    groups: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, groups: _Optional[_Iterable[str]] = ...) -> None: ...

class ApplyResourcesRequest(_message.Message):
    __slots__ = ("resources", "groups", "dry_run")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    dry_run: bool
    def __init__(self, resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ApplyResourcesResponse(_message.Message):
    __slots__ = ("created", "changed", "unchanged", "generation")
    CREATED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    created: int
    changed: int
    unchanged: int
    generation: int
    def __init__(self, created: _Optional[int] = ..., changed: _Optional[int] = ..., unchanged: _Optional[int] = ..., generation: _Optional[int] = ...) -> None: ...

class ListResourcesRequest(_message.Message):
    __slots__ = ("node", "site")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ...) -> None: ...

class ListResourcesResponse(_message.Message):
    __slots__ = ("resources", "groups")
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    GROUPS_FIELD_NUMBER: _ClassVar[int]
    resources: _containers.RepeatedCompositeFieldContainer[Resource]
    groups: _containers.RepeatedCompositeFieldContainer[Group]
    def __init__(self, resources: _Optional[_Iterable[_Union[Resource, _Mapping]]] = ..., groups: _Optional[_Iterable[_Union[Group, _Mapping]]] = ...) -> None: ...

class PolicyFile(_message.Message):
    __slots__ = ("name", "text")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    text: str
    def __init__(self, name: _Optional[str] = ..., text: _Optional[str] = ...) -> None: ...

class PolicySource(_message.Message):
    __slots__ = ("files",)
    FILES_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[PolicyFile]
    def __init__(self, files: _Optional[_Iterable[_Union[PolicyFile, _Mapping]]] = ...) -> None: ...

class Finding(_message.Message):
    __slots__ = ("code", "severity", "file", "line", "policy", "message", "hint")
    CODE_FIELD_NUMBER: _ClassVar[int]
    SEVERITY_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    POLICY_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    code: str
    severity: str
    file: str
    line: int
    policy: str
    message: str
    hint: str
    def __init__(self, code: _Optional[str] = ..., severity: _Optional[str] = ..., file: _Optional[str] = ..., line: _Optional[int] = ..., policy: _Optional[str] = ..., message: _Optional[str] = ..., hint: _Optional[str] = ...) -> None: ...

class LintResponse(_message.Message):
    __slots__ = ("findings",)
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    def __init__(self, findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ...) -> None: ...

class ApplyPolicyRequest(_message.Message):
    __slots__ = ("source", "now", "dry_run", "shadow", "sites")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    source: PolicySource
    now: bool
    dry_run: bool
    shadow: bool
    sites: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, source: _Optional[_Union[PolicySource, _Mapping]] = ..., now: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., shadow: _Optional[bool] = ..., sites: _Optional[_Iterable[str]] = ...) -> None: ...

class PromotePolicyRequest(_message.Message):
    __slots__ = ("now", "sites")
    NOW_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    now: bool
    sites: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, now: _Optional[bool] = ..., sites: _Optional[_Iterable[str]] = ...) -> None: ...

class RollbackPolicyRequest(_message.Message):
    __slots__ = ("version", "now")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    version: int
    now: bool
    def __init__(self, version: _Optional[int] = ..., now: _Optional[bool] = ...) -> None: ...

class WithdrawPolicyRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class WithdrawPolicyResponse(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class ApplyPolicyResponse(_message.Message):
    __slots__ = ("version", "generation", "findings", "policies", "nodes")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    version: int
    generation: int
    findings: _containers.RepeatedCompositeFieldContainer[Finding]
    policies: int
    nodes: int
    def __init__(self, version: _Optional[int] = ..., generation: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[Finding, _Mapping]]] = ..., policies: _Optional[int] = ..., nodes: _Optional[int] = ...) -> None: ...

class GetPolicyRequest(_message.Message):
    __slots__ = ("version",)
    VERSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    def __init__(self, version: _Optional[int] = ...) -> None: ...

class PolicySet(_message.Message):
    __slots__ = ("version", "source", "applied_at", "applied_by", "sites", "base", "shadow", "note")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_AT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_BY_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    version: int
    source: PolicySource
    applied_at: int
    applied_by: str
    sites: _containers.RepeatedScalarFieldContainer[str]
    base: int
    shadow: bool
    note: str
    def __init__(self, version: _Optional[int] = ..., source: _Optional[_Union[PolicySource, _Mapping]] = ..., applied_at: _Optional[int] = ..., applied_by: _Optional[str] = ..., sites: _Optional[_Iterable[str]] = ..., base: _Optional[int] = ..., shadow: _Optional[bool] = ..., note: _Optional[str] = ...) -> None: ...

class ListPoliciesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListPoliciesResponse(_message.Message):
    __slots__ = ("sets", "policy_min", "policy_now", "shadow")
    SETS_FIELD_NUMBER: _ClassVar[int]
    POLICY_MIN_FIELD_NUMBER: _ClassVar[int]
    POLICY_NOW_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    sets: _containers.RepeatedCompositeFieldContainer[PolicySet]
    policy_min: int
    policy_now: int
    shadow: int
    def __init__(self, sets: _Optional[_Iterable[_Union[PolicySet, _Mapping]]] = ..., policy_min: _Optional[int] = ..., policy_now: _Optional[int] = ..., shadow: _Optional[int] = ...) -> None: ...

class GetPolicyStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PolicyStatus(_message.Message):
    __slots__ = ("policy_min", "policy_now", "staged", "shadow", "shadow_sites", "nodes")
    POLICY_MIN_FIELD_NUMBER: _ClassVar[int]
    POLICY_NOW_FIELD_NUMBER: _ClassVar[int]
    STAGED_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    SHADOW_SITES_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    policy_min: int
    policy_now: int
    staged: int
    shadow: int
    shadow_sites: _containers.RepeatedScalarFieldContainer[str]
    nodes: _containers.RepeatedCompositeFieldContainer[NodePolicy]
    def __init__(self, policy_min: _Optional[int] = ..., policy_now: _Optional[int] = ..., staged: _Optional[int] = ..., shadow: _Optional[int] = ..., shadow_sites: _Optional[_Iterable[str]] = ..., nodes: _Optional[_Iterable[_Union[NodePolicy, _Mapping]]] = ...) -> None: ...

class NodePolicy(_message.Message):
    __slots__ = ("node", "connected", "enforced", "shadow", "decided", "newly_allowed", "newly_denied", "flows")
    NODE_FIELD_NUMBER: _ClassVar[int]
    CONNECTED_FIELD_NUMBER: _ClassVar[int]
    ENFORCED_FIELD_NUMBER: _ClassVar[int]
    SHADOW_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    NEWLY_ALLOWED_FIELD_NUMBER: _ClassVar[int]
    NEWLY_DENIED_FIELD_NUMBER: _ClassVar[int]
    FLOWS_FIELD_NUMBER: _ClassVar[int]
    node: str
    connected: bool
    enforced: int
    shadow: int
    decided: int
    newly_allowed: int
    newly_denied: int
    flows: _containers.RepeatedCompositeFieldContainer[ShadowFlow]
    def __init__(self, node: _Optional[str] = ..., connected: _Optional[bool] = ..., enforced: _Optional[int] = ..., shadow: _Optional[int] = ..., decided: _Optional[int] = ..., newly_allowed: _Optional[int] = ..., newly_denied: _Optional[int] = ..., flows: _Optional[_Iterable[_Union[ShadowFlow, _Mapping]]] = ...) -> None: ...

class ShadowFlow(_message.Message):
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

class ExplainRequest(_message.Message):
    __slots__ = ("caller", "action", "resource", "purpose", "data_class", "subject_region", "stream", "method", "path", "at_ms", "source_ip", "arguments")
    class ArgumentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CALLER_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    DATA_CLASS_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_REGION_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_IP_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    caller: str
    action: str
    resource: str
    purpose: str
    data_class: str
    subject_region: str
    stream: bool
    method: str
    path: str
    at_ms: int
    source_ip: str
    arguments: _containers.ScalarMap[str, str]
    def __init__(self, caller: _Optional[str] = ..., action: _Optional[str] = ..., resource: _Optional[str] = ..., purpose: _Optional[str] = ..., data_class: _Optional[str] = ..., subject_region: _Optional[str] = ..., stream: _Optional[bool] = ..., method: _Optional[str] = ..., path: _Optional[str] = ..., at_ms: _Optional[int] = ..., source_ip: _Optional[str] = ..., arguments: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Clause(_message.Message):
    __slots__ = ("policy", "effect", "text", "value")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    policy: str
    effect: str
    text: str
    value: str
    def __init__(self, policy: _Optional[str] = ..., effect: _Optional[str] = ..., text: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class ExplainResponse(_message.Message):
    __slots__ = ("decision", "code", "because", "clauses")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    CLAUSES_FIELD_NUMBER: _ClassVar[int]
    decision: str
    code: str
    because: _containers.RepeatedScalarFieldContainer[str]
    clauses: _containers.RepeatedCompositeFieldContainer[Clause]
    def __init__(self, decision: _Optional[str] = ..., code: _Optional[str] = ..., because: _Optional[_Iterable[str]] = ..., clauses: _Optional[_Iterable[_Union[Clause, _Mapping]]] = ...) -> None: ...

class BundleRule(_message.Message):
    __slots__ = ("policy", "effect", "actions", "resources", "condition")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    ACTIONS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    CONDITION_FIELD_NUMBER: _ClassVar[int]
    policy: str
    effect: str
    actions: _containers.RepeatedScalarFieldContainer[str]
    resources: _containers.RepeatedScalarFieldContainer[str]
    condition: str
    def __init__(self, policy: _Optional[str] = ..., effect: _Optional[str] = ..., actions: _Optional[_Iterable[str]] = ..., resources: _Optional[_Iterable[str]] = ..., condition: _Optional[str] = ...) -> None: ...

class BundlePeer(_message.Message):
    __slots__ = ("node", "address", "resources", "policies")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    POLICIES_FIELD_NUMBER: _ClassVar[int]
    node: str
    address: str
    resources: _containers.RepeatedScalarFieldContainer[str]
    policies: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., address: _Optional[str] = ..., resources: _Optional[_Iterable[str]] = ..., policies: _Optional[_Iterable[str]] = ...) -> None: ...

class DroppedPolicy(_message.Message):
    __slots__ = ("policy", "why")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    policy: str
    why: str
    def __init__(self, policy: _Optional[str] = ..., why: _Optional[str] = ...) -> None: ...

class BundleDescription(_message.Message):
    __slots__ = ("policy_version", "as_callee", "as_caller", "peers", "dropped")
    POLICY_VERSION_FIELD_NUMBER: _ClassVar[int]
    AS_CALLEE_FIELD_NUMBER: _ClassVar[int]
    AS_CALLER_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    policy_version: int
    as_callee: _containers.RepeatedCompositeFieldContainer[BundleRule]
    as_caller: _containers.RepeatedCompositeFieldContainer[BundleRule]
    peers: _containers.RepeatedCompositeFieldContainer[BundlePeer]
    dropped: _containers.RepeatedCompositeFieldContainer[DroppedPolicy]
    def __init__(self, policy_version: _Optional[int] = ..., as_callee: _Optional[_Iterable[_Union[BundleRule, _Mapping]]] = ..., as_caller: _Optional[_Iterable[_Union[BundleRule, _Mapping]]] = ..., peers: _Optional[_Iterable[_Union[BundlePeer, _Mapping]]] = ..., dropped: _Optional[_Iterable[_Union[DroppedPolicy, _Mapping]]] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Status(_message.Message):
    __slots__ = ("trust_domain", "version", "generation", "policy_min", "policy_now", "lease_s", "nodes", "warnings", "root_sha256")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    GENERATION_FIELD_NUMBER: _ClassVar[int]
    POLICY_MIN_FIELD_NUMBER: _ClassVar[int]
    POLICY_NOW_FIELD_NUMBER: _ClassVar[int]
    LEASE_S_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    ROOT_SHA256_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    version: str
    generation: int
    policy_min: int
    policy_now: int
    lease_s: int
    nodes: _containers.RepeatedCompositeFieldContainer[Node]
    warnings: _containers.RepeatedScalarFieldContainer[str]
    root_sha256: str
    def __init__(self, trust_domain: _Optional[str] = ..., version: _Optional[str] = ..., generation: _Optional[int] = ..., policy_min: _Optional[int] = ..., policy_now: _Optional[int] = ..., lease_s: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[Node, _Mapping]]] = ..., warnings: _Optional[_Iterable[str]] = ..., root_sha256: _Optional[str] = ...) -> None: ...

class ListWitnessedRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListWitnessedResponse(_message.Message):
    __slots__ = ("logs", "witness_key")
    LOGS_FIELD_NUMBER: _ClassVar[int]
    WITNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    logs: _containers.RepeatedCompositeFieldContainer[Witnessed]
    witness_key: bytes
    def __init__(self, logs: _Optional[_Iterable[_Union[Witnessed, _Mapping]]] = ..., witness_key: _Optional[bytes] = ...) -> None: ...

class Witnessed(_message.Message):
    __slots__ = ("spiffe_id", "origin", "size", "checkpoint", "verifier_key", "tallies")
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    VERIFIER_KEY_FIELD_NUMBER: _ClassVar[int]
    TALLIES_FIELD_NUMBER: _ClassVar[int]
    spiffe_id: str
    origin: str
    size: int
    checkpoint: bytes
    verifier_key: str
    tallies: bytes
    def __init__(self, spiffe_id: _Optional[str] = ..., origin: _Optional[str] = ..., size: _Optional[int] = ..., checkpoint: _Optional[bytes] = ..., verifier_key: _Optional[str] = ..., tallies: _Optional[bytes] = ...) -> None: ...

class Workload(_message.Message):
    __slots__ = ("node", "site", "name", "selectors", "hint", "attributes", "spiffe_id", "federates_with")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SELECTORS_FIELD_NUMBER: _ClassVar[int]
    HINT_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    SPIFFE_ID_FIELD_NUMBER: _ClassVar[int]
    FEDERATES_WITH_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    name: str
    selectors: _containers.RepeatedScalarFieldContainer[str]
    hint: str
    attributes: Attributes
    spiffe_id: str
    federates_with: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ..., name: _Optional[str] = ..., selectors: _Optional[_Iterable[str]] = ..., hint: _Optional[str] = ..., attributes: _Optional[_Union[Attributes, _Mapping]] = ..., spiffe_id: _Optional[str] = ..., federates_with: _Optional[_Iterable[str]] = ...) -> None: ...

class ListWorkloadsRequest(_message.Message):
    __slots__ = ("node", "site")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ...) -> None: ...

class ListWorkloadsResponse(_message.Message):
    __slots__ = ("workloads",)
    WORKLOADS_FIELD_NUMBER: _ClassVar[int]
    workloads: _containers.RepeatedCompositeFieldContainer[Workload]
    def __init__(self, workloads: _Optional[_Iterable[_Union[Workload, _Mapping]]] = ...) -> None: ...

class RemoveWorkloadRequest(_message.Message):
    __slots__ = ("node", "site", "name")
    NODE_FIELD_NUMBER: _ClassVar[int]
    SITE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    node: str
    site: str
    name: str
    def __init__(self, node: _Optional[str] = ..., site: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class RemoveWorkloadResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Authority(_message.Message):
    __slots__ = ("kind", "key_id", "state", "since", "replica", "not_after", "request")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key_id: str
    state: str
    since: int
    replica: str
    not_after: int
    request: bytes
    def __init__(self, kind: _Optional[str] = ..., key_id: _Optional[str] = ..., state: _Optional[str] = ..., since: _Optional[int] = ..., replica: _Optional[str] = ..., not_after: _Optional[int] = ..., request: _Optional[bytes] = ...) -> None: ...

class ListAuthoritiesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListAuthoritiesResponse(_message.Message):
    __slots__ = ("authorities",)
    AUTHORITIES_FIELD_NUMBER: _ClassVar[int]
    authorities: _containers.RepeatedCompositeFieldContainer[Authority]
    def __init__(self, authorities: _Optional[_Iterable[_Union[Authority, _Mapping]]] = ...) -> None: ...

class PrepareAuthorityRequest(_message.Message):
    __slots__ = ("kind", "request", "certificate")
    KIND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    request: bool
    certificate: bytes
    def __init__(self, kind: _Optional[str] = ..., request: _Optional[bool] = ..., certificate: _Optional[bytes] = ...) -> None: ...

class ActivateAuthorityRequest(_message.Message):
    __slots__ = ("key_id", "force")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    force: bool
    def __init__(self, key_id: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class RetireAuthorityRequest(_message.Message):
    __slots__ = ("key_id", "force")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    force: bool
    def __init__(self, key_id: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class TaintAuthorityRequest(_message.Message):
    __slots__ = ("key_id", "now", "dry_run")
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    key_id: str
    now: bool
    dry_run: bool
    def __init__(self, key_id: _Optional[str] = ..., now: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class TaintAuthorityResponse(_message.Message):
    __slots__ = ("authority", "nodes", "breaks", "within_s")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    BREAKS_FIELD_NUMBER: _ClassVar[int]
    WITHIN_S_FIELD_NUMBER: _ClassVar[int]
    authority: Authority
    nodes: _containers.RepeatedScalarFieldContainer[str]
    breaks: _containers.RepeatedScalarFieldContainer[str]
    within_s: int
    def __init__(self, authority: _Optional[_Union[Authority, _Mapping]] = ..., nodes: _Optional[_Iterable[str]] = ..., breaks: _Optional[_Iterable[str]] = ..., within_s: _Optional[int] = ...) -> None: ...

class Root(_message.Message):
    __slots__ = ("version", "certificate", "state", "since", "not_after")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    version: int
    certificate: bytes
    state: str
    since: int
    not_after: int
    def __init__(self, version: _Optional[int] = ..., certificate: _Optional[bytes] = ..., state: _Optional[str] = ..., since: _Optional[int] = ..., not_after: _Optional[int] = ...) -> None: ...

class ListRootsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRootsResponse(_message.Message):
    __slots__ = ("roots", "delegation")
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    roots: _containers.RepeatedCompositeFieldContainer[Root]
    delegation: bytes
    def __init__(self, roots: _Optional[_Iterable[_Union[Root, _Mapping]]] = ..., delegation: _Optional[bytes] = ...) -> None: ...

class PrepareRootRequest(_message.Message):
    __slots__ = ("change", "dry_run")
    CHANGE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    change: bytes
    dry_run: bool
    def __init__(self, change: _Optional[bytes] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class ActivateRootRequest(_message.Message):
    __slots__ = ("delegation", "force", "dry_run")
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    delegation: bytes
    force: bool
    dry_run: bool
    def __init__(self, delegation: _Optional[bytes] = ..., force: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RetireRootRequest(_message.Message):
    __slots__ = ("force", "dry_run")
    FORCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    force: bool
    dry_run: bool
    def __init__(self, force: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class RootEffect(_message.Message):
    __slots__ = ("roots", "behind", "cas")
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    BEHIND_FIELD_NUMBER: _ClassVar[int]
    CAS_FIELD_NUMBER: _ClassVar[int]
    roots: _containers.RepeatedCompositeFieldContainer[Root]
    behind: _containers.RepeatedScalarFieldContainer[str]
    cas: _containers.RepeatedCompositeFieldContainer[Authority]
    def __init__(self, roots: _Optional[_Iterable[_Union[Root, _Mapping]]] = ..., behind: _Optional[_Iterable[str]] = ..., cas: _Optional[_Iterable[_Union[Authority, _Mapping]]] = ...) -> None: ...

class GetAnchorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Anchors(_message.Message):
    __slots__ = ("control_plane_cas", "root")
    CONTROL_PLANE_CAS_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    control_plane_cas: _containers.RepeatedScalarFieldContainer[bytes]
    root: bytes
    def __init__(self, control_plane_cas: _Optional[_Iterable[bytes]] = ..., root: _Optional[bytes] = ...) -> None: ...

class GetRootRequestRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RootPaper(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class RootInstalled(_message.Message):
    __slots__ = ("delegation", "delegation_until", "crl_until", "revoked")
    DELEGATION_FIELD_NUMBER: _ClassVar[int]
    DELEGATION_UNTIL_FIELD_NUMBER: _ClassVar[int]
    CRL_UNTIL_FIELD_NUMBER: _ClassVar[int]
    REVOKED_FIELD_NUMBER: _ClassVar[int]
    delegation: int
    delegation_until: int
    crl_until: int
    revoked: int
    def __init__(self, delegation: _Optional[int] = ..., delegation_until: _Optional[int] = ..., crl_until: _Optional[int] = ..., revoked: _Optional[int] = ...) -> None: ...

class GetBundleRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Bundle(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: bytes
    def __init__(self, document: _Optional[bytes] = ...) -> None: ...

class Operator(_message.Message):
    __slots__ = ("name", "role", "sites", "hours", "not_after", "since", "by")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    SITES_FIELD_NUMBER: _ClassVar[int]
    HOURS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: str
    sites: _containers.RepeatedScalarFieldContainer[str]
    hours: int
    not_after: int
    since: int
    by: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[str] = ..., sites: _Optional[_Iterable[str]] = ..., hours: _Optional[int] = ..., not_after: _Optional[int] = ..., since: _Optional[int] = ..., by: _Optional[str] = ...) -> None: ...

class AddOperatorRequest(_message.Message):
    __slots__ = ("operator", "csr")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    operator: Operator
    csr: bytes
    def __init__(self, operator: _Optional[_Union[Operator, _Mapping]] = ..., csr: _Optional[bytes] = ...) -> None: ...

class RenewOperatorRequest(_message.Message):
    __slots__ = ("name", "csr")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CSR_FIELD_NUMBER: _ClassVar[int]
    name: str
    csr: bytes
    def __init__(self, name: _Optional[str] = ..., csr: _Optional[bytes] = ...) -> None: ...

class OperatorGrant(_message.Message):
    __slots__ = ("operator", "chain", "control_plane_cas", "trust_domain")
    OPERATOR_FIELD_NUMBER: _ClassVar[int]
    CHAIN_FIELD_NUMBER: _ClassVar[int]
    CONTROL_PLANE_CAS_FIELD_NUMBER: _ClassVar[int]
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    operator: Operator
    chain: _containers.RepeatedScalarFieldContainer[bytes]
    control_plane_cas: _containers.RepeatedScalarFieldContainer[bytes]
    trust_domain: str
    def __init__(self, operator: _Optional[_Union[Operator, _Mapping]] = ..., chain: _Optional[_Iterable[bytes]] = ..., control_plane_cas: _Optional[_Iterable[bytes]] = ..., trust_domain: _Optional[str] = ...) -> None: ...

class RemoveOperatorRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class RemoveOperatorResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListOperatorsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListOperatorsResponse(_message.Message):
    __slots__ = ("operators",)
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    operators: _containers.RepeatedCompositeFieldContainer[Operator]
    def __init__(self, operators: _Optional[_Iterable[_Union[Operator, _Mapping]]] = ...) -> None: ...

class SetApprovalRequest(_message.Message):
    __slots__ = ("required",)
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    required: bool
    def __init__(self, required: _Optional[bool] = ...) -> None: ...

class SetApprovalResponse(_message.Message):
    __slots__ = ("required",)
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    required: bool
    def __init__(self, required: _Optional[bool] = ...) -> None: ...

class Approval(_message.Message):
    __slots__ = ("id", "method", "target", "by", "state", "asked_at", "expires_at", "decided_by", "request", "arguments")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    BY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ASKED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    DECIDED_BY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    id: str
    method: str
    target: str
    by: str
    state: str
    asked_at: int
    expires_at: int
    decided_by: str
    request: bytes
    arguments: str
    def __init__(self, id: _Optional[str] = ..., method: _Optional[str] = ..., target: _Optional[str] = ..., by: _Optional[str] = ..., state: _Optional[str] = ..., asked_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., decided_by: _Optional[str] = ..., request: _Optional[bytes] = ..., arguments: _Optional[str] = ...) -> None: ...

class ListApprovalsRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListApprovalsResponse(_message.Message):
    __slots__ = ("approvals", "required")
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_FIELD_NUMBER: _ClassVar[int]
    approvals: _containers.RepeatedCompositeFieldContainer[Approval]
    required: bool
    def __init__(self, approvals: _Optional[_Iterable[_Union[Approval, _Mapping]]] = ..., required: _Optional[bool] = ...) -> None: ...

class ApproveCallRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ApproveCallResponse(_message.Message):
    __slots__ = ("approval", "reply")
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    REPLY_FIELD_NUMBER: _ClassVar[int]
    approval: Approval
    reply: bytes
    def __init__(self, approval: _Optional[_Union[Approval, _Mapping]] = ..., reply: _Optional[bytes] = ...) -> None: ...

class RejectCallRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ReadEvidenceRequest(_message.Message):
    __slots__ = ("path",)
    PATH_FIELD_NUMBER: _ClassVar[int]
    path: str
    def __init__(self, path: _Optional[str] = ...) -> None: ...

class ReadEvidenceResponse(_message.Message):
    __slots__ = ("data", "found")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    found: bool
    def __init__(self, data: _Optional[bytes] = ..., found: _Optional[bool] = ...) -> None: ...

class Federation(_message.Message):
    __slots__ = ("trust_domain", "url", "profile", "endpoint_id", "bundle", "since", "answered_at", "error")
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    ANSWERED_AT_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    url: str
    profile: str
    endpoint_id: str
    bundle: bytes
    since: int
    answered_at: int
    error: str
    def __init__(self, trust_domain: _Optional[str] = ..., url: _Optional[str] = ..., profile: _Optional[str] = ..., endpoint_id: _Optional[str] = ..., bundle: _Optional[bytes] = ..., since: _Optional[int] = ..., answered_at: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class AddFederationRequest(_message.Message):
    __slots__ = ("federation", "replace")
    FEDERATION_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    federation: Federation
    replace: bool
    def __init__(self, federation: _Optional[_Union[Federation, _Mapping]] = ..., replace: _Optional[bool] = ...) -> None: ...

class ListFederationsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListFederationsResponse(_message.Message):
    __slots__ = ("federations", "endpoint_id", "profile")
    FEDERATIONS_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_ID_FIELD_NUMBER: _ClassVar[int]
    PROFILE_FIELD_NUMBER: _ClassVar[int]
    federations: _containers.RepeatedCompositeFieldContainer[Federation]
    endpoint_id: str
    profile: str
    def __init__(self, federations: _Optional[_Iterable[_Union[Federation, _Mapping]]] = ..., endpoint_id: _Optional[str] = ..., profile: _Optional[str] = ...) -> None: ...

class GetFederationRequest(_message.Message):
    __slots__ = ("trust_domain",)
    TRUST_DOMAIN_FIELD_NUMBER: _ClassVar[int]
    trust_domain: str
    def __init__(self, trust_domain: _Optional[str] = ...) -> None: ...

class RemoveFederationResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
