"""How a command fails: one line that says what, a hint that says what to do, and an exit code scripts can use."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of `writ`, the same for every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    DENIED = 3
    NOT_FOUND = 4
    CONFLICT = 5
    UNREACHABLE = 6
    VERIFICATION = 7


class CliError(Exception):
    """A command cannot go on. `hint` is the way out, kept apart from what went wrong."""

    def __init__(self, message: str, *, code: Exit = Exit.FAILED, hint: str = "") -> None:
        super().__init__(message)
        self.message, self.code, self.hint = message, code, hint
