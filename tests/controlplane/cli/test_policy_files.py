"""`writ policy` from files alone: exit codes, outputs for people and programs, and input that is refused by one error."""

import dataclasses
import json
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
from recorded import denied, record

from controlplane.cli.errors import Exit

WRIT = [sys.executable, "-c", "from controlplane.cli.app import run; run()", "policy"]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
MESH = """
nodes:
  - {node: app-1.paris, jurisdiction: FR, groups: [clinical], purposes: [care], class_ceiling: 3}
  - {node: gpu-1.berlin, jurisdiction: DE}
resources:
  - {resource: Model/ngram@gpu-1.berlin}
"""
CARE = """@id("care")
permit (principal in Group::"clinical", action == Action::"chat", resource is Model)
when { context.data_class <= 2 };
"""
CASES = """
policies: [care.cedar]
cases:
  - name: allowed
    request: {from: app-1.paris, action: chat, resource: Model/ngram@gpu-1.berlin, data_class: 2}
    expect: allow
    policy: care
"""


def writ(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*WRIT, *map(str, words)], capture_output=True, text=True, timeout=60, env=ENVIRONMENT, check=False
    )


@pytest.fixture
def files(tmp_path):
    (tmp_path / "mesh.yaml").write_text(MESH)
    (tmp_path / "care.cedar").write_text(CARE)
    (tmp_path / "wide.cedar").write_text(CARE.replace("<= 2", "<= 3"))
    (tmp_path / "care.test.yaml").write_text(MESH + CASES)
    records = [record(), record(claimed_data_class="3"), denied(claimed_data_class="2")]
    lines = [json.dumps(dataclasses.asdict(item)) for item in records]
    (tmp_path / "records.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_lint_needs_no_control_plane_and_speaks_sarif(files) -> None:
    assert writ("lint", files / "care.cedar").returncode == Exit.OK
    (files / "bad.cedar").write_text(
        '@id("x")\npermit (principal, action, resource)\nwhen { context.nothing };'
    )
    done = writ("lint", files / "bad.cedar", "-o", "sarif")
    assert done.returncode == Exit.FAILED
    [run] = json.loads(done.stdout)["runs"]
    [result] = run["results"]
    assert (result["ruleId"], result["level"]) == ("W-SCHEMA", "error")
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == "W-SCHEMA"
    place = result["locations"][0]["physicalLocation"]
    assert (place["artifactLocation"]["uri"], place["region"]["startLine"]) == (str(files / "bad.cedar"), 3)
    assert writ("test", files, "-o", "sarif").returncode == Exit.USAGE


def test_lint_holds_policies_against_a_mesh(files) -> None:
    (files / "typo.cedar").write_text(CARE.replace("clinical", "clinica"))
    done = writ("lint", files / "typo.cedar", "--context-file", files / "mesh.yaml", "-o", "json")
    assert done.returncode == Exit.OK, "a warning is no failure"
    assert [finding["code"] for finding in json.loads(done.stdout)] == ["W-NO-NODE"]


def test_cases_pass_fail_and_are_reported(files) -> None:
    assert writ("test", files).returncode == Exit.OK
    (files / "care.cedar").write_text(CARE.replace("<= 2", "<= 1"))
    done = writ("test", files / "care.test.yaml", "--junit", files / "junit.xml", "-o", "json")
    assert done.returncode == Exit.FAILED
    [report] = json.loads(done.stdout).values()
    assert report["cases"][0]["message"] == "expected allow, got deny (no_permit)"
    [suite] = ET.parse(files / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert suite[0][0].get("message") == "expected allow, got deny (no_permit)"


def test_coverage_can_be_asked_for(files) -> None:
    (files / "care.cedar").write_text(CARE + CARE.replace('"care"', '"other"').replace("clinical", "other"))
    done = writ("test", files)
    assert (done.returncode, "no case touches policy `other`" in done.stderr) == (Exit.OK, True)
    done = writ("test", files, "--min-coverage", "51")
    assert (done.returncode, "cases decide 50 % of the policies" in done.stderr) == (Exit.FAILED, True)


def test_widening_fails_where_that_is_asked_for(files) -> None:
    care, wide, mesh = files / "care.cedar", files / "wide.cedar", files / "mesh.yaml"
    done = writ("diff", care, wide, "--context-file", mesh, "--fail-on-widening", "-o", "json")
    assert done.returncode == Exit.FAILED
    [change] = json.loads(done.stdout)
    assert (change["change"], change["nodes"], change["example"]["data_class"]) == (
        "gains",
        ["app-1.paris"],
        3,
    )
    assert writ("diff", wide, care, "--context-file", mesh, "--fail-on-widening").returncode == Exit.OK
    assert writ("diff", "-", care, "--context-file", mesh, "--fail-on-widening").returncode == Exit.FAILED


def test_records_are_replayed_and_make_a_suggestion(files) -> None:
    done = writ(
        *("simulate", files / "care.cedar", "--records", files / "records.jsonl"),
        *("--context-file", files / "mesh.yaml", "-o", "json"),
    )
    said = json.loads(done.stdout)
    assert (said["records"], said["same"], said["newly_allowed"], said["newly_denied"]) == (3, 1, 1, 1)
    suggested = writ("suggest", "--records", files / "records.jsonl")
    assert suggested.returncode == Exit.OK
    (files / "suggested.cedar").write_text(suggested.stdout)
    assert writ("lint", files / "suggested.cedar", "--context-file", files / "mesh.yaml").stderr == ""


def test_a_request_and_a_record_are_explained(files) -> None:
    given = ("--policy", files / "care.cedar", "--context-file", files / "mesh.yaml")
    asked = ("--from", "app-1.paris", "--action", "chat", "--resource", "Model/ngram@gpu-1.berlin")
    assert writ("explain", *asked, "--data-class", 2, *given).returncode == Exit.OK
    done = writ("explain", *asked, "--data-class", 3, *given)
    assert done.returncode == Exit.DENIED
    assert (
        "nearest permit: care (care.cedar:1), which fails at\n  false: context.data_class <= 2" in done.stderr
    )
    refused = writ("explain", *asked, "--purpose", "billing", *given, "-o", "json")
    assert json.loads(refused.stdout)["code"] == "claim_not_allowed"
    line = json.loads((files / "records.jsonl").read_text().splitlines()[2])
    done = writ(
        *("explain", "--record", f"{line['request_id']}/out", "--records", files / "records.jsonl"),
        *given,
        "-o",
        "json",
    )
    said = json.loads(done.stdout)
    assert (said["decision"], said["because"]) == ("allow", ["care"])
    assert said["recorded"] == {
        "decision": "deny",
        "code": "no_permit",
        "policy": "",
        "policy_version": 1,
        "reproduced": False,
    }
    missing = writ("explain", "--record", "gone/out", "--records", files / "records.jsonl", *given)
    assert missing.returncode == Exit.NOT_FOUND
    assert writ("explain", *given).returncode == Exit.USAGE


def test_what_a_caller_has_become_since_is_said(files) -> None:
    """Records name their caller, not what its certificate said then."""
    line = json.loads((files / "records.jsonl").read_text().splitlines()[0])
    named = ("explain", "--record", f"{line['request_id']}/out", "--records", files / "records.jsonl")
    given = ("--policy", files / "care.cedar", "--context-file", files / "mesh.yaml")
    done = writ(*named, *given)
    assert (done.returncode, "not decided as recorded" in done.stderr) == (Exit.OK, False)
    (files / "mesh.yaml").write_text(MESH.replace("groups: [clinical]", "groups: [research]"))
    done = writ(*named, *given)
    assert done.returncode == Exit.DENIED
    assert "not decided as recorded: policies, what is declared or what `app-1.paris` may be" in done.stderr
    replayed = writ("simulate", files / "care.cedar", *named[3:], *given[2:])
    assert "callers as they are now" in replayed.stderr


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
POLICY = '@id("p%d") permit(principal, action == Action::"chat", resource);\n'
BAD_POLICIES = {
    "an unknown attribute": (
        '@id("a") permit(principal, action, resource) when { principal.rank > 1 };',
        "W-SCHEMA",
    ),
    "an unknown action": ('@id("a") permit(principal, action == Action::"chatt", resource);', "W-SCHEMA"),
    "an unknown entity type": ('@id("a") permit(principal in Team::"x", action, resource);', "W-SCHEMA"),
    "a doubled id": (POLICY % 1 + POLICY % 1, "W-ID: policy `p1`: id is taken by f.cedar:1"),
    "no id": ("permit(principal, action, resource);", "W-ID: policy has no id"),
    "not UTF-8": (b"\xff\xfe", "`{file}` is not UTF-8 at byte 0"),
    "10 MB": ("/" * 10_000_000, "`{file}` is larger than 1048576 bytes"),
    "no Cedar": ("allow everything", "W-SYNTAX: policy has no `;` at its end"),
}


@pytest.mark.parametrize("what", BAD_POLICIES)
def test_bad_policies_end_with_one_clear_error(files, what) -> None:
    source, error = BAD_POLICIES[what]
    bad = files / "f.cedar"
    bad.write_bytes(source if isinstance(source, bytes) else source.encode())
    done = writ("diff", files / "care.cedar", bad, "--context-file", files / "mesh.yaml")
    assert done.returncode in {Exit.FAILED, Exit.USAGE}
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert error.format(file=bad) in errors[0]
    assert "Traceback" not in done.stderr


def test_a_hundred_thousand_policies_are_one_error(tmp_path) -> None:
    for number in range(10):
        text = "".join(POLICY % (number * 10_000 + policy) for policy in range(10_000))
        (tmp_path / f"{number}.cedar").write_text(text)
    done = writ("lint", tmp_path, "--offline", "-o", "json")
    assert done.returncode == Exit.FAILED
    assert [finding["code"] for finding in json.loads(done.stdout)] == ["W-COUNT"]


BAD_YAML = {
    "a doubled key": (MESH + "nodes: []\n", "`nodes` occurs twice"),
    "an anchor bomb": (BOMB, "line 1: anchors and aliases are not allowed"),
    "a merge": ("cases: []\n<<: {cases: []}\n", "a key must be a plain word"),
    "a key that is a list": ("? [a, b]\n: c\n", "a key must be a plain word"),
    "bottomless nesting": ("[" * 5000 + "]" * 5000, "nested deeper than 32"),
    "not UTF-8": (b"\xff", "is not UTF-8 at byte 0"),
    "too large": ("#" * (2 << 20), "is larger than 1048576 bytes"),
    "a tag": ("cases: !!python/object/apply:os.system [id]\n", "is not valid YAML"),
    "no mapping": ("- a\n", "must be a mapping"),
    "an unknown field": (MESH + "casez: []\n", "unknown field `casez`"),
    "Norway": (
        MESH.replace("jurisdiction: FR", "jurisdiction: NO") + CASES,
        "nodes[1].jurisdiction: must be a string",
    ),
    "a group in a group": (
        MESH.replace("groups: [clinical]", "groups: [{clinical: [clinical]}]") + CASES,
        "nodes[1].groups[1]: must be a string",
    ),
}


@pytest.mark.parametrize("what", BAD_YAML)
def test_bad_cases_end_with_one_clear_error(files, what) -> None:
    source, error = BAD_YAML[what]
    (files / "care.test.yaml").write_bytes(source if isinstance(source, bytes) else source.encode())
    done = writ("test", files)
    assert done.returncode == Exit.USAGE
    assert [error in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True], (
        done.stderr
    )


BAD_RECORDS = {
    "no JSON": (b"nonsense\n", "record 1: not JSON"),
    "not UTF-8": (b'{"kind": "\xff"}\n', "record 1: not JSON"),
    "no object": (b"[]\n", "record 1: is no JSON object"),
    "half a record": (b'{"kind": "decision"}\n', "record 1: `request_id` must be a string"),
    "an endless line": (b"x" * 100_000, "has a line of more than 65536 bytes"),
    "deep nesting": (b"[" * 60_000 + b"\n", "record 1: not JSON"),
}


@pytest.mark.parametrize("what", BAD_RECORDS)
def test_bad_records_end_with_one_clear_error(files, what) -> None:
    source, error = BAD_RECORDS[what]
    (files / "records.jsonl").write_bytes(source)
    done = writ("suggest", "--records", files / "records.jsonl")
    assert done.returncode == Exit.USAGE
    assert [error in line for line in done.stderr.splitlines() if line.startswith("error: ")] == [True], (
        done.stderr
    )


def test_the_packs_pass_their_cases_whole() -> None:
    done = writ("test", "policies/packs", "--min-coverage", "100", "-o", "json")
    assert done.returncode == Exit.OK, done.stderr
    reports = json.loads(done.stdout)
    assert len(reports) == 5
    assert all(report["cases"] and not report["untouched"] for report in reports.values())
