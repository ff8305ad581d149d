"""What can go wrong in the agent. None of it ever allows a request: Envoy goes on with what it has, or denies."""


class AgentError(Exception):
    """Base of everything the agent reports."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ConfigError(AgentError):
    """Settings that cannot be used."""


class IdentityError(AgentError):
    """Key, certificate or join token that cannot be used."""


class EnrolError(AgentError):
    """The control plane did not give a certificate."""


class EvidenceWantedError(EnrolError):
    """The control plane renews only for a node that proves itself again."""


class EnvoyError(AgentError):
    """Envoy cannot be found, started or trusted."""


class RejectedError(AgentError):
    """Envoy refused a configuration; it keeps the one before."""


class NotAcknowledgedError(AgentError):
    """Envoy has not said in time that it took a configuration."""
