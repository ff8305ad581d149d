"""`writ policy simulate` over 100,000 distinct records and 200 policies, as an operator runs it: a process, files, JSON out.

No decision is cached: every record is read, checked and decided. Peer: reading the same lines as JSON and nothing else.
"""

import json
import statistics
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

from audit.record import DecisionRecord
from benchmarks.rows import Row

RECORDS, NODES, MODELS, POLICIES, ROUNDS = 100_000, 200, 50, 200, 3
ACTIONS = ("chat", "embed", "completion", "respond")


def run(directory: Path) -> list[Row]:
    mesh, policies, records = (directory / name for name in ("mesh.json", "p.cedar", "records.jsonl"))
    mesh.write_text(json.dumps(_mesh()))
    policies.write_text("\n".join(map(_policy, range(POLICIES))))
    with records.open("w") as file:
        file.writelines(
            json.dumps(asdict(_record(number)), sort_keys=True) + "\n" for number in range(RECORDS)
        )
    command = [
        str(Path(sys.executable).with_name("writ")),
        *("policy", "simulate", str(policies), "--records", str(records)),
        *("--context-file", str(mesh), "-o", "json"),
    ]
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        done = subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    said = json.loads(done.stdout)
    replayed = said["same"] + said["newly_allowed"] + said["newly_denied"]
    if replayed != RECORDS:
        raise RuntimeError(f"only {replayed} of {RECORDS} records were replayed")
    print(
        f"{said['newly_allowed']} newly allowed, {said['newly_denied']} newly denied, {said['same']} as before"
    )
    return [
        Row(
            name="simulate_100k_s",
            value=statistics.median(times),
            unit="s",
            target=10,
            floor=15,
            better="lower",
            peer=f"reading the lines as JSON: {_json_s(records):.2f} s",
            n=RECORDS,
            spread=f"{min(times):.2f}-{max(times):.2f}",
        )
    ]


def _json_s(records: Path) -> float:
    started = time.perf_counter()
    with records.open("rb") as file:
        for line in file:
            json.loads(line)
    return time.perf_counter() - started


def _mesh() -> dict[str, object]:
    callers = [
        {
            "node": f"app-{number}.paris",
            "jurisdiction": "FR",
            "tier": number % 5,
            "groups": [f"team-{number % 20}"],
            "purposes": ["treatment", "research"],
            "class_ceiling": 4,
        }
        for number in range(NODES)
    ]
    served = [
        {"resource": f"Model/m{number}@gpu-1.berlin", "groups": [f"g{number % 10}"]}
        for number in range(MODELS)
    ]
    return {"nodes": [*callers, {"node": "gpu-1.berlin", "jurisdiction": "DE"}], "resources": served}


def _policy(number: int) -> str:
    effect = "forbid" if number % 10 == 0 else "permit"
    return (
        f'@id("p{number}") {effect} (principal in Group::"team-{number % 20}", action in Action::"infer", '
        f'resource in ModelGroup::"g{number % 10}") when {{ context.data_class <= {number % 5} }};'
    )


def _record(number: int) -> DecisionRecord:
    """Distinct in id, time and path; the rest runs through all combinations."""
    caller, model, data_class = number % NODES, number // 7 % MODELS, number // 11 % 5
    return DecisionRecord(
        request_id=f"00000000-0000-4000-8000-{number:012x}",
        direction="out",
        node=f"spiffe://acme.example/fr/paris/app-{caller}",
        peer="spiffe://acme.example/de/berlin/gpu-1",
        peer_serial="1",
        peer_epoch="1",
        time_ms=1_700_000_000_000 + number,
        duration_ms=5,
        tls="TLSv1.3",
        protocol="openai",
        method="POST",
        path=f"/v1/chat/completions/{number}",
        action=ACTIONS[number // 3 % len(ACTIONS)],
        resource=f"Model/m{model}",
        body="read",
        stream=number % 2 == 0,
        claimed_purpose="treatment" if number % 3 else "research",
        claimed_data_class=str(data_class),
        claimed_subject_region="",
        allowed=number % 4 != 0,
        code="" if number % 4 else "no_permit",
        policy="",
        generation=7,
        policy_version=1,
        status=200,
        details="",
        received_bytes=10,
        sent_bytes=10,
        boot="b",
        seq=number,
    )
