"""`writ workload`, `writ authority`, `writ bundle` as an operator uses them, and what they refuse."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import workloads

from controlplane.cli.errors import Exit

WEB = "app-1.paris/web"


@pytest.fixture(scope="module")
def mesh():
    with workloads.one_node() as made:
        yield made


def writ(mesh, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "WRIT_CONFIG": str(mesh.context_file)}
    command = [str(Path(sys.executable).with_name("writ")), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def shown(mesh, *words: str):
    done = writ(mesh, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_workload_is_registered_shown_and_removed(mesh) -> None:
    made = shown(mesh, "workload", "register", WEB, "--selector", "unix:uid:998", "--class-ceiling", "1")
    assert made["spiffe_id"] == f"{workloads.ID}/web"
    (listed,) = shown(mesh, "workload", "list")
    assert (listed["workload"], listed["selectors"]) == (WEB, ["unix:uid:998"])
    assert listed["attributes"]["class_ceiling"] == 1
    assert listed["attributes"]["groups"] == ["clinical"]
    assert "narrower" in writ(mesh, "workload", "list", "app-1.paris").stdout
    assert writ(mesh, "workload", "remove", WEB).returncode != 0  # nobody said yes
    assert writ(mesh, "workload", "remove", WEB, "--yes").returncode == 0
    assert shown(mesh, "workload", "list") == []


def test_what_cannot_be_meant_is_refused_with_a_hint(mesh) -> None:
    cases = {
        ("workload", "register", "app-1.paris", "--selector", "unix:uid:1"): Exit.USAGE,
        ("workload", "register", "web", "--selector", "unix:uid:1"): Exit.USAGE,
        ("workload", "register", WEB): Exit.USAGE,
        ("workload", "register", WEB, "--selector", "unix:path:/bin/sh"): Exit.USAGE,
        ("workload", "register", WEB, "--selector", "unix:uid:1", "--group", "admins"): Exit.USAGE,
        ("workload", "register", "nobody.paris/web", "--selector", "unix:uid:1"): Exit.NOT_FOUND,
        ("workload", "remove", WEB, "--yes"): Exit.NOT_FOUND,
        ("authority", "activate", "nobody"): Exit.NOT_FOUND,
        ("authority", "retire", "nobody", "--yes"): Exit.NOT_FOUND,
    }
    assert {words: writ(mesh, *words).returncode for words in cases} == cases
    assert shown(mesh, "workload", "list") == []


def jwt_keys(mesh) -> list[dict]:
    return [one for one in shown(mesh, "authority", "list") if one["kind"] == "jwt"]


def test_a_key_is_prepared_activated_and_the_one_before_retired(mesh) -> None:
    (first,) = jwt_keys(mesh)
    (second,) = shown(mesh, "authority", "prepare", "jwt")
    assert (first["state"], second["state"]) == ("active", "prepared")
    kids = {key.get("kid") for key in json.loads(writ(mesh, "bundle", "show").stdout)["keys"]}
    assert kids == {None, first["key_id"], second["key_id"]}
    refused = writ(mesh, "authority", "retire", first["key_id"], "--yes")
    assert (refused.returncode, "hint: " in refused.stderr) == (Exit.CONFLICT, True)
    workloads.eventually(lambda: writ(mesh, "authority", "activate", second["key_id"]).returncode == 0)
    states = {one["key_id"]: one["state"] for one in jwt_keys(mesh)}
    assert states == {first["key_id"]: "old", second["key_id"]: "active"}
    assert writ(mesh, "authority", "retire", first["key_id"], "--yes").returncode == 0
    assert [one["key_id"] for one in jwt_keys(mesh)] == [second["key_id"]]
