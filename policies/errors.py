"""What can be wrong with policies and documents: bad input, an attack. Misuse by our own code is RuntimeError."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing wrong, where, and what to do about it. `code` is stable: scripts may match on it."""

    code: str
    severity: str = "error"  # error, warning
    file: str
    line: int  # from 1
    policy: str
    message: str
    hint: str = ""

    def __str__(self) -> str:
        policy = f" policy `{self.policy}`:" if self.policy else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.file}:{self.line}: {self.code}:{policy} {self.message}{hint}"


class PolicyError(Exception):
    """Policies that cannot be applied; `findings` says why, at least one."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(map(str, findings[:3])))
        self.findings = findings


class DocumentError(Exception):
    """A signed document that must not be believed. Keep the one before."""


class SignatureError(DocumentError):
    """Malformed, or not signed by enough of the keys that the root delegated."""


class ContentError(DocumentError):
    """Signed, but not of the shape this kind of document has."""


class AudienceError(DocumentError):
    """Meant for another trust domain or another node."""


class RollbackError(DocumentError):
    """Older than what was already accepted."""

    def __init__(self, what: str, *, offered: int, trusted: int) -> None:
        super().__init__(f"{what} rollback: offered `{offered}`, trusted `{trusted}`")
        self.offered, self.trusted = offered, trusted


class ExpiredError(DocumentError):
    """Past its time: somebody may be keeping the newer one from us (freeze)."""


class MixError(DocumentError):
    """Parts that do not belong together. `wanted` is the digest of the part that is missing."""

    def __init__(self, what: str, *, wanted: str) -> None:
        super().__init__(f"{what} `{wanted[:16]}` is not the one in hand")
        self.wanted = wanted


class FeatureError(DocumentError):
    """Needs something this agent cannot enforce; guessing would be allowing."""


class InputError(Exception):
    """A file of the operator's that is not what it should be; `where` leads into it, `hint` out of the mistake."""

    def __init__(self, where: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{where}: {message}" if where else message)
        self.where, self.hint = where, hint
