"""Why a caller gets nothing. Each is one gRPC status, as the SPIFFE Workload Endpoint standard names them."""

from agent.errors import AgentError


class CallError(AgentError):
    """Base of what ends a call."""


class BadCallError(CallError):
    """The call can never succeed as it is: InvalidArgument."""


class NotEntitledError(CallError):
    """No identity for this caller: PermissionDenied."""


class NotReadyError(CallError):
    """Not now: Unavailable."""
