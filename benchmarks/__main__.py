"""`python -m benchmarks [NAME …]`: run all, or these, and print every figure beside aim and floor."""

import sys
import tempfile
from pathlib import Path

from benchmarks import (
    agent_memory,
    body_rule,
    cli_start,
    datapath,
    datapath_growth,
    demo,
    evaluate,
    issuance,
    issuance_local,
    revoke,
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
}


def main(names: list[str]) -> int:
    unknown = set(names) - set(ALL)
    if unknown:
        print(f"unknown benchmark `{min(unknown)}`; known: {', '.join(ALL)}", file=sys.stderr)
        return 2
    rows: list[Row] = []
    for name in names or ALL:
        print(f"--- {name}", flush=True)
        with tempfile.TemporaryDirectory(prefix=f"writ-bench-{name}-") as directory:
            found = ALL[name](Path(directory))
        save(found)
        rows += found
    print(machine())
    show(rows)
    return 1 if any(row.verdict == "BELOW" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
