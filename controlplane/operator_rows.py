"""What is stored of operators and of what waits for a second one. Read and written by `model`, as every row."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRow:
    """Who may administer: looked up under the name in the certificate at every call."""

    name: str
    role: str
    sites: list[str]  # empty: everywhere
    hours: int  # how long a certificate of his lives
    serials: list[str]  # hex, newest last: no other certificate of this name counts
    not_after: int  # of the newest
    since: int  # Unix seconds
    by: str  # who added him


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalRow:
    """A call that waits for a second operator, exactly as it was asked for."""

    id: str
    method: str  # writ.v1.Admin/CreateToken
    request: str  # base64 of the compressed message
    target: str
    arguments: str  # SHA-256 of the message, hex
    by: str
    role: str  # of him, when he asked
    sites: list[str]
    asked_at: int
    expires_at: int
    state: str = "waiting"  # done, rejected
    decided_by: str = ""

    @property
    def call(self) -> str:
        return self.method.rpartition("/")[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSetting:
    """Does what widens access need a second operator?"""

    required: bool
