"""Named places where a test may kill or stop this process, to see what that leaves behind. Inert unless WRIT_FAILPOINT is set."""

import os
import signal

_ARMED, _, _HOW = os.environ.get("WRIT_FAILPOINT", "").partition(":")


def reach(name: str) -> None:
    """Die here as by power loss, or with `NAME:stop` stand still, if the test asked for this place."""
    if name == _ARMED:
        os.kill(os.getpid(), signal.SIGSTOP if _HOW == "stop" else signal.SIGKILL)
