"""Who makes the call that is being served."""

from contextvars import ContextVar

from controlplane.services.admin.grants import Grant

CALLER: ContextVar[Grant] = ContextVar("caller")
"""Set for the length of a call, once it is permitted and recorded."""


def calling() -> Grant:
    """Who makes the call that is being served; RuntimeError where nobody was let in."""
    grant = CALLER.get(None)
    if grant is None:
        raise RuntimeError("an operator's call came past `rpc.administration`")
    return grant
