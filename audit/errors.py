"""What can be wrong with evidence. Findings of a whole verification are values (`verify`), not exceptions."""


class AuditError(Exception):
    """Base of everything this package refuses."""


class RecordError(AuditError):
    """Bytes that are no record."""


class ProofError(AuditError):
    """A Merkle proof that proves nothing."""


class NoteError(AuditError):
    """A signed note, checkpoint or cosignature that is malformed or does not verify."""
