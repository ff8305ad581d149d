"""`python -m benchmarks [NAME …]`: run all, or these, and print every figure beside aim and floor."""

import os
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from benchmarks import (
    agent_memory,
    body_rule,
    cli_start,
    datapath,
    datapath_growth,
    demo,
    evaluate,
    fanout,
    growth,
    issuance,
    issuance_local,
    policy_push,
    reconnect,
    revoke,
    revoke_mesh,
    rotate,
    simulate,
    soak,
    status,
    workload_api,
)
from benchmarks.rows import Row, machine, save, show

ALL = {
    "cli_start": cli_start.run,
    "demo": demo.run,
    "revoke": revoke.run,
    "policy_push": policy_push.run,
    "rotate": rotate.run,
    "agent_memory": agent_memory.run,
    "issuance": issuance.run,
    "issuance_local": issuance_local.run,
    "workload_api": workload_api.run,
    "simulate": simulate.run,
    "datapath": datapath.run,
    "datapath_growth": datapath_growth.run,
    "evaluate": evaluate.run,
    "body_rule": body_rule.run,
    "status": status.run,
    "soak": soak.run,
    "fanout_1000": fanout.run_1000,
    "fanout_5000": fanout.run_5000,
    "fanout_10000": fanout.run_10000,
    "revoke_mesh": revoke_mesh.run,
    "reconnect": reconnect.run,
    "growth": growth.run,
}


# Those that hold a crowd: on a machine that is too busy for them they end, and say so. Seconds, `WRIT_BENCH_LIMIT_S` instead.
LIMITED = ("fanout_1000", "fanout_5000", "fanout_10000", "revoke_mesh", "reconnect", "growth")
LIMIT_S = 480


def limit(name: str) -> None:
    """End the run in time, and when told to; either way all that it started ends with it."""

    def late(_: int, __: FrameType | None) -> None:
        raise SystemExit(
            f"`{name}` did not end in {seconds} s: load {os.getloadavg()[0]:.0f} on {os.cpu_count()} cores"
        )

    def told(_: int, __: FrameType | None) -> None:
        raise SystemExit(f"`{name}` was ended")

    seconds = int(os.environ.get("WRIT_BENCH_LIMIT_S", LIMIT_S)) if name in LIMITED else 0
    signal.signal(signal.SIGALRM, late)
    signal.signal(signal.SIGTERM, told)
    signal.alarm(seconds)


def main(names: list[str]) -> int:
    unknown = set(names) - set(ALL)
    if unknown:
        print(f"unknown benchmark `{min(unknown)}`; known: {', '.join(ALL)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in names or ALL:
        print(f"--- {name}", flush=True)
        limit(name)
        with tempfile.TemporaryDirectory(prefix=f"writ-bench-{name}-") as directory:
            found = ALL[name](Path(directory))
        signal.alarm(0)
        save(found)
        rows += found
    print(machine())
    show(rows)
    return 1 if any(row.verdict == "BELOW" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
