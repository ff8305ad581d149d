"""`writ policy explain` with arguments of a tool: of a request they are given, of a record they are not kept."""

import dataclasses
import json

import pytest
from commands import writ as command
from recorded import record

from controlplane.cli.errors import Exit

MESH = """
groups:
  - {kind: ToolGroup, name: read}
  - {kind: ToolGroup, name: files, groups: [read]}
nodes:
  - {node: app-1.paris, jurisdiction: FR, purposes: [care], class_ceiling: 3}
  - {node: gpu-1.berlin, jurisdiction: DE}
resources:
  - {resource: Tool/cat@gpu-1.berlin, groups: [files]}
"""
POLICY = """
@id("inside") permit (principal, action == Action::"tool", resource in ToolGroup::"read")
when { context.arguments.hasTag("path") && context.arguments.getTag("path") like "/data/*" };
"""
CALL = {"action": "tool", "resource": "Tool/cat", "protocol": "mcp", "path": "/mcp", "policy": "inside"}


@pytest.fixture
def given(tmp_path) -> list[object]:
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "inside.cedar").write_text(POLICY)
    rows = [record(**CALL), record(**{**CALL, "allowed": False, "code": "no_permit", "policy": ""})]
    (tmp_path / "records.jsonl").write_text(
        "".join(json.dumps(dataclasses.asdict(row)) + "\n" for row in rows)
    )
    return ["--policy", tmp_path / "inside.cedar", "--context-file", tmp_path / "mesh.yaml"]


def explain(*words: object):
    return command("policy", "explain", *map(str, words))


def test_a_request_is_explained_with_its_arguments(given) -> None:
    asked = ("--from", "app-1.paris", "--action", "tool", "--resource", "Tool/cat@gpu-1.berlin", *given)
    assert explain(*asked, "--argument", "path=/data/x=y").returncode == Exit.OK
    done = explain(*asked, "--argument", "path=/etc/x")
    assert done.returncode == Exit.DENIED
    assert 'false: context.arguments.getTag("path") like "/data/*"' in done.stderr
    assert explain(*asked).returncode == Exit.DENIED
    for odd in ("path", "pa th=x", 'path=a"b'):
        assert explain(*asked, "--argument", odd).returncode == Exit.USAGE
    assert explain(*asked, "--argument", "path=a", "--argument", "path=b").returncode == Exit.USAGE


@pytest.mark.parametrize(("number", "verdict"), [(0, "allow by inside"), (1, "deny: no_permit")])
def test_a_record_keeps_no_arguments_and_what_it_says_stands(
    given, tmp_path, number: int, verdict: str
) -> None:
    line = json.loads((tmp_path / "records.jsonl").read_text().splitlines()[number])
    named = ("--record", f"{line['request_id']}/out", "--records", tmp_path / "records.jsonl", *given)
    done = explain(*named)
    assert done.returncode == (Exit.DENIED if number else Exit.OK)
    assert (
        "what it was decided on is not all kept (an argument, an address): as it was recorded" in done.stderr
    )
    assert done.stderr.rstrip().endswith(verdict)
    said = json.loads(explain(*named, "-o", "json").stdout)
    assert said["recorded"]["reproduced"] is False
    assert {clause["value"] for policy in said["policies"] for clause in policy["clauses"]} == {
        "true",
        "error",
    }
