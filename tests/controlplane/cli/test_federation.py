"""`writ federation`, `writ bundle` and `--federates-with` as an operator uses them, and what they refuse."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import workloads
from foreign import ENDPOINT, PARTNER, Foreign, serving

from certs import bundle_map
from controlplane.cli.errors import Exit

WEB = "app-1.paris/web"
ME = ("--selector", "unix:uid:998")


@pytest.fixture(scope="module")
def mesh():
    with workloads.one_node() as made:
        yield made


@pytest.fixture
def partner(mesh, tmp_path):
    """A trust domain, its endpoint, and a file with its bundle."""
    made = Foreign(hint_s=300)
    file = tmp_path / "bundle.json"
    file.write_bytes(made.document())
    with serving(made) as endpoint:
        yield made, endpoint.url(), str(file)
    writ(mesh, "federation", "remove", PARTNER, "--yes")


def writ(mesh, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "WRIT_CONFIG": str(mesh.context_file)}
    command = [str(Path(sys.executable).with_name("writ")), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)


def shown(mesh, *words: str):
    done = writ(mesh, *words, "-o", "json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_federation_is_added_fetched_shown_and_removed(mesh, partner) -> None:
    made, url, file = partner
    added = ("federation", "add", PARTNER, "--url", url, "--endpoint-id", ENDPOINT)
    assert shown(mesh, *added, "--bundle", file)["bundle"] == json.loads(made.document())
    workloads.eventually(lambda: shown(mesh, "federation", "show", PARTNER)["answered_at"])
    listed = shown(mesh, "federation", "list")
    assert [one["trust_domain"] for one in listed["federations"]] == [PARTNER]
    assert (listed["own_profile"], listed["own_endpoint_id"]) == ("", "")  # this mesh serves none
    fields = writ(mesh, "federation", "show", PARTNER).stdout
    assert "https_spiffe" in fields
    assert re.search(r"^roots +1$", fields, re.MULTILINE)
    both = bundle_map.load(writ(mesh, "bundle", "show", "--all").stdout.encode())
    assert set(both.bundles) == {PARTNER, "demo.example"}
    assert shown(mesh, "workload", "register", WEB, *ME, "--federates-with", PARTNER)
    assert shown(mesh, "workload", "list")[0]["federates_with"] == [PARTNER]
    assert writ(mesh, "federation", "remove", PARTNER).returncode != 0  # nobody said yes
    assert writ(mesh, "federation", "remove", PARTNER, "--yes").returncode == 0
    assert shown(mesh, "federation", "list")["federations"] == []


def test_a_bundle_that_cannot_be_fetched_is_a_line_of_writ_check(mesh, partner) -> None:
    made, url, file = partner

    def line() -> dict:
        done = writ(mesh, "check", "-o", "json")
        return next(one for one in json.loads(done.stdout) if one["about"] == f"federation {PARTNER}")

    add = ("federation", "add", PARTNER, "--url", url, "--endpoint-id", ENDPOINT, "--bundle", file)
    assert writ(mesh, *add).returncode == 0
    assert (line()["state"], line()["hint"]) == ("ok", "")
    made.sequence = 0  # older than what is held
    assert writ(mesh, *add[:-2]).returncode == 0  # asked again at once
    found = workloads.eventually(lambda: line() if line()["state"] == "warn" else None)
    assert "rollback" in found["text"]
    assert "writ federation show" in found["hint"]


def test_a_bundle_may_come_out_of_a_map(mesh, partner, tmp_path) -> None:
    made, url, _ = partner
    file = tmp_path / "map.json"
    file.write_bytes(bundle_map.dump({"third.example": b'{"keys": []}', PARTNER: made.document()}))
    words = ("federation", "add", PARTNER, "--url", url, "--endpoint-id", ENDPOINT, "--bundle", str(file))
    assert shown(mesh, *words)["bundle"] == json.loads(made.document())
    file.write_bytes(bundle_map.dump({"third.example": b'{"keys": []}'}))
    assert writ(mesh, *words).returncode == Exit.USAGE


def test_what_cannot_be_meant_is_refused_with_a_hint(mesh, partner, tmp_path) -> None:
    _, url, file = partner
    (tmp_path / "bad").write_text("[]")
    add = ("federation", "add", PARTNER, "--url")
    cases = {
        (*add, "http://partner.example/"): Exit.USAGE,
        (*add, url, "--endpoint-id", PARTNER): Exit.USAGE,
        (*add, url, "--bundle", str(tmp_path / "none")): Exit.USAGE,
        (*add, url, "--bundle", str(tmp_path / "bad")): Exit.USAGE,
        (*add, url, "--endpoint-id", ENDPOINT): Exit.CONFLICT,  # nothing to begin with
        ("federation", "add", "demo.example", "--url", url): Exit.USAGE,
        ("federation", "show", PARTNER): Exit.NOT_FOUND,
        ("federation", "remove", PARTNER, "--yes"): Exit.NOT_FOUND,
        ("workload", "register", WEB, *ME, "--federates-with", "nobody.example"): Exit.NOT_FOUND,
        ("workload", "register", WEB, *ME, "--federates-with", "Nobody.example"): Exit.USAGE,
    }
    assert {words: writ(mesh, *words).returncode for words in cases} == cases
    assert writ(mesh, *add, url, "--endpoint-id", ENDPOINT, "--bundle", file).returncode == 0
    assert writ(mesh, *add, url).returncode == Exit.CONFLICT
    assert writ(mesh, *add, url, "--replace").returncode == 0
