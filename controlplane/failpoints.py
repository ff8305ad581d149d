"""Named places where a test may kill this process, to see what a crash leaves behind. Inert unless WRIT_FAILPOINT is set."""

import os
import signal

_ARMED = os.environ.get("WRIT_FAILPOINT", "")


def reach(name: str) -> None:
    """Die here, as by power loss, if the test asked for this place."""
    if name == _ARMED:
        os.kill(os.getpid(), signal.SIGKILL)
