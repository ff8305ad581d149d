"""Keep the policy in force equal to a directory of *.cedar files. One JSON line whenever the outcome changes.

An empty directory changes nothing: a mount that is not there yet must not become "no policy". A set that is refused
leaves the one in force, and this not ready, until the files or the mesh change. `--ready` is the probe.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

POLICIES = Path(os.environ["POLICIES"])
STATUS = Path(os.environ.get("STATUS_FILE", "/work/status.json"))
INTERVAL_S = float(os.environ.get("INTERVAL_S", "30"))
WRIT = str(Path(sys.executable).with_name("writ"))
NOT_FOUND = 4
STALE = 5  # intervals


def main() -> int:
    if "--ready" in sys.argv:
        return ready()
    before = None
    while True:
        found = look()
        if found != before:
            print(json.dumps(found), flush=True)
        before = found
        STATUS.write_text(json.dumps({**found, "at": time.time()}))
        if "--once" in sys.argv:
            return 0 if found["state"] == "in force" else 1
        time.sleep(INTERVAL_S)


def look() -> dict[str, object]:
    wanted = {path.name: path.read_text() for path in sorted(POLICIES.glob("*.cedar"))}
    if not wanted:
        return {"state": "no files", "reason": f"there is no *.cedar in `{POLICIES}`"}
    shown = writ("policy", "show", "-o", "json")
    if shown.returncode not in {0, NOT_FOUND}:
        return {"state": "unreachable", "reason": shown.stderr.strip()}
    now = json.loads(shown.stdout) if shown.returncode == 0 else {"version": 0, "files": {}}
    if now["files"] == wanted:
        return {"state": "in force", "version": now["version"]}
    applied = writ("policy", "apply", str(POLICIES))
    if applied.returncode:
        return {"state": "refused", "reason": applied.stderr.strip(), "version": now["version"]}
    return {"state": "in force", "applied": sorted(wanted)}


def writ(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([WRIT, "--timeout", "60", *words], capture_output=True, text=True, check=False)


def ready() -> int:
    said = json.loads(STATUS.read_text())
    fresh = time.time() - said["at"] < STALE * INTERVAL_S + 120
    return 0 if fresh and said["state"] == "in force" else 1


if __name__ == "__main__":
    sys.exit(main())
