"""Evidence that cannot be kept. Whoever sees one of these makes the gate deny: no record, no request."""

from agent.errors import AgentError


class EvidenceError(AgentError):
    """Base."""


class WriteError(EvidenceError):
    """The device refused a write or a sync; what was not synced counts as lost."""


class RollbackError(EvidenceError):
    """The log on disk is shorter than what was signed. Going on would fork it."""
