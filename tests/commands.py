"""The `writ` command as an operator runs it: a process, with a context file and no home."""

import os
import subprocess
import sys
from pathlib import Path

WRIT = str(Path(sys.executable).with_name("writ"))


def writ(*words: str, config: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    if config is not None:
        environment["WRIT_CONFIG"] = str(config)
    return subprocess.run(
        [WRIT, *words], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
