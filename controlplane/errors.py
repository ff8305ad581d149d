"""What can go wrong in the control plane, by what the caller should do. `api.status` maps each to a gRPC status."""


class ControlPlaneError(Exception):
    """Base; `hint` says the way out."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class InvalidError(ControlPlaneError):
    """The request can never succeed as it is."""


class NotFoundError(ControlPlaneError):
    """What is named does not exist."""


class ExistsError(ControlPlaneError):
    """What should be made exists and is different."""


class ConflictError(ControlPlaneError):
    """Somebody else changed it first; read again, then decide."""


class SupersededError(ConflictError):
    """A later stream of the same node took its place."""

    def __init__(self, node: str) -> None:
        super().__init__(f"another stream of node `{node}` began", hint="is its key in use on two machines?")


class DeniedError(ControlPlaneError):
    """The caller may not."""


class NotAttestedError(DeniedError):
    """The evidence does not prove which node it comes from."""


class ReattestError(ControlPlaneError):
    """The caller must show fresh evidence with what it asks."""


class PreconditionError(ControlPlaneError):
    """Not in this state."""


class WaitingError(PreconditionError):
    """Nothing was done yet: another operator has to approve it."""

    def __init__(self, approval: str) -> None:
        super().__init__(
            f"waiting for approval `{approval}`", hint=f"another operator: writ approve {approval}"
        )
        self.approval = approval


class RolledBackError(PreconditionError):
    """The store is older than what the mesh has acted on: nothing may be signed from it."""

    def __init__(self, message: str) -> None:
        hint = "go back to the newer store; if it is lost: writ backup new-epoch"
        super().__init__(message, hint=hint)


class BusyError(ControlPlaneError):
    """Too much at once; come back later: after `retry_s`, if that is known, give or take a half."""

    def __init__(self, message: str, *, hint: str = "", retry_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.retry_s = retry_s


class UnavailableError(ControlPlaneError):
    """Something we need is away; nothing was changed."""


class CompactedError(ControlPlaneError):
    """A watch asked for history that is gone: list again and compare."""


class CorruptError(ControlPlaneError):
    """Stored bytes are not what we write."""
