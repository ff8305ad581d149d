"""Step 6 of the demo, and what other steps read of evidence: records, clauses, counters."""

import contextlib
import http.client
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from audit import note, tiles, verify
from audit.errors import AuditError
from audit.record import DecisionRecord, load
from audit.verify import Finding, LogReport, Problem
from controlplane.api.gen import admin_pb2
from controlplane.cli import evidence as files
from controlplane.cli.demo import calls
from controlplane.cli.demo.mesh import Mesh, Node
from controlplane.cli.demo.processes import MeshError
from controlplane.cli.demo.show import Show

PATIENCE_S = 10.0
POLL_S = 0.02


def evidence(mesh: Mesh, show: Show) -> None:
    """Verify all logs offline; then tamper with copies, and kill an Envoy, and see each named."""
    show.step("6. Evidence that nobody can alter")
    keys = _keys(mesh)
    nodes = list(mesh.nodes.values())
    show.command("writ audit keys > keys && writ audit verify --keys keys paris/ berlin/ boston/")
    started = time.perf_counter()
    reports = _wait_cosigned(nodes, keys)
    fatal = [f for report in reports for f in report.findings if f.problem in verify.FATAL]
    show.check("three logs, offline", "whole", "whole" if not fatal else fatal[0].detail, _ms(started))
    pairs = verify.reconcile(reports)
    bypassed = [f for f in pairs if f.problem is Problem.UNPAIRED and "caller has no record" in f.detail]
    show.check(
        "pairs that do not match",
        "the 5 requests past a sidecar",
        f"the {len(bypassed)} requests past a sidecar" if len(bypassed) == len(pairs) else _first(pairs),
    )
    _tampered(mesh, show, keys)
    _killed(mesh, show, keys)


def _tampered(mesh: Mesh, show: Show, keys: files.Keys) -> None:
    origin = mesh.nodes["gpu-1.berlin"].evidence
    changed = _copy(mesh, origin, "one-byte-changed")
    index = _change_byte(changed)
    found = _verify(changed, keys).findings
    show.check("one byte changed", f"altered at entry {index}", _named(found, Problem.ALTERED))
    deleted = _copy(mesh, origin, "one-record-deleted")
    index = _delete_record(deleted)
    found = _verify(deleted, keys).findings
    show.check("one record deleted", f"missing at entry {index}", _named(found, Problem.MISSING))


def _killed(mesh: Mesh, show: Show, keys: files.Keys) -> None:
    us, de = mesh.nodes["lab-1.boston"], mesh.nodes["gpu-1.berlin"]
    calls.start_stream(us, de.name, {"purpose": "treatment", "data-class": "3"})
    show.command("kill -9 $(pidof envoy)   # in Boston, with a stream open")
    before = us.envoy_pid()
    started = time.perf_counter()
    us.kill_envoy(signal.SIGKILL)
    _wait(lambda: us.envoy_pid() != before, "Envoy did not come back")

    def gap() -> bool:
        found = _verify(us.evidence, keys).findings
        return any(f.problem is Problem.GAP for f in found)

    with contextlib.suppress(MeshError):
        _wait(gap, "no gap record")
    show.check(
        "Envoy killed with records in flight",
        "gap declared",
        _named(_verify(us.evidence, keys).findings, Problem.GAP),
        _ms(started),
    )


# --- what other steps ask -----------------------------------------------------------------------------------------


def decisions(mesh: Mesh, request_id: str, nodes: Sequence[Node]) -> list[dict[str, Any]]:
    """The records of one request, in the order of `nodes`, once they are in a checkpoint."""
    del mesh
    found: list[dict[str, Any]] = []
    for node in nodes:
        _wait(lambda: _record(node, request_id) is not None, "no record")  # noqa: B023 - waits in this turn
        found.append(_record(node, request_id) or {})
    return found


def _record(node: Node, request_id: str) -> dict[str, Any] | None:
    with contextlib.suppress(Exception):
        for item in files.newest(node.evidence, 256):
            if item.get("request_id") == request_id:
                return item
    return None


def clause(mesh: Mesh, caller: str, callee: str, action: str, model: str) -> str:
    """The deciding policy's condition."""
    asked = admin_pb2.ExplainRequest(
        caller=caller,
        action=action,
        resource=f"Model/{model}@{callee}",
        purpose="treatment",
        data_class="3",
        method="POST",
        path="/v1/chat/completions",
    )
    said = mesh.call("ExplainPolicy", asked)
    texts = [str(c.text) for c in said.clauses if c.policy in said.because and c.text != "scope"]
    return texts[0] if texts else "none"


def reached(node: Node) -> int:
    """How many requests have reached the server beside a node."""
    if node.server is None:
        return 0
    connection = http.client.HTTPConnection("127.0.0.1", int(node.server.ports_file.read_text()), timeout=5)
    connection.request("GET", "/seen")
    seen = json.loads(connection.getresponse().read())["requests"]
    connection.close()
    return int(seen)


def key_exchange(node: Node) -> str:
    """Which group Envoy's ingress has negotiated, by its own counters."""
    connection = http.client.HTTPConnection("envoy")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(str(node.state / "envoy" / "admin.sock"))
    connection.request("GET", "/stats?filter=ssl.curves")
    text = connection.getresponse().read().decode()
    connection.close()
    names = [
        line.partition("ssl.curves.")[2].partition(":")[0]
        for line in text.splitlines()
        if not line.endswith(": 0")
    ]
    return ",".join(sorted(set(names)))


# --- verifying ----------------------------------------------------------------------------------------------------


def _keys(mesh: Mesh) -> files.Keys:
    found = mesh.call("ListWitnessed", admin_pb2.ListWitnessedRequest())
    logs = [note.parse_key(log.verifier_key) for log in found.logs]
    return files.Keys({key.name: key for key in logs}, note.parse_key(found.witness_key.decode()))


def _verify(directory: Path, keys: files.Keys) -> LogReport:
    return verify.verify_log(files.reader(directory), keys.log_of(directory), keys.witness)


def _wait_cosigned(nodes: Sequence[Node], keys: files.Keys) -> list[LogReport]:
    """Reports of all logs, once each newest checkpoint is cosigned and nothing is still being written."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        reports = [_verify(node.evidence, keys) for node in nodes]
        late = [f for f in verify.reconcile(reports) if "callee has no record" in f.detail]
        if (all(report.cosigned_at for report in reports) and not late) or time.monotonic() > deadline:
            return reports
        time.sleep(POLL_S)


def _named(found: Sequence[Finding], problem: Problem) -> str:
    for one in found:
        if one.problem is problem:
            return problem.value + (f" at entry {one.index}" if one.index >= 0 else "")
    return _first(found)


def _first(found: Sequence[Finding]) -> str:
    return f"{found[0].problem.value}: {found[0].detail}" if found else "nothing found"


def _copy(mesh: Mesh, origin: Path, name: str) -> Path:
    target = mesh.directory / name
    shutil.copytree(origin, target)
    return target


def _bundle(directory: Path) -> tuple[Path, list[bytes]]:
    """The first bundle of a log's newest checkpoint."""
    head = (directory / "checkpoint").read_text()
    size = int(head.split("\n")[1])
    path = directory / tiles.entries_path(0, min(size, tiles.WIDTH))
    return path, list(tiles.entries(path.read_bytes()))


def _change_byte(directory: Path) -> int:
    """Turn one denial into an allowance, byte for byte of equal length."""
    path, entries = _bundle(directory)
    for index, entry in enumerate(entries):
        with contextlib.suppress(AuditError):
            item = load(entry)
            if isinstance(item, DecisionRecord) and asdict(item)["allowed"]:
                entries[index] = entry.replace(b'"status":200', b'"status":201')
                path.write_bytes(tiles.bundle(entries))
                return index
    raise MeshError("the log holds no allowed request")


def _delete_record(directory: Path) -> int:
    path, entries = _bundle(directory)
    index = len(entries) // 2
    del entries[index]
    path.write_bytes(tiles.bundle(entries))
    return index


def _wait(reached_: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached_():
        if time.monotonic() > deadline:
            raise MeshError(what)
        time.sleep(POLL_S)


def _ms(started: float) -> float:
    return (time.perf_counter() - started) * 1000
