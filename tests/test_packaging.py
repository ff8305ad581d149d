"""What the wheel holds: our packages and nothing else; no tests, no keys, no path of a machine."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> list[str]:
    out = tmp_path_factory.mktemp("wheel")
    code = f"import hatchling.build as b; print(b.build_wheel({str(out)!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    with zipfile.ZipFile(out / done.stdout.split()[-1]) as wheel:
        return wheel.namelist()


def test_the_wheel_has_our_packages_and_nothing_else(names) -> None:
    top = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert top == {"agent", "audit", "certs", "controlplane", "policies"}


def test_data_that_is_needed_at_run_time_is_in_it(names) -> None:
    wanted = {
        "agent/envoy/arguments.lua",
        "agent/envoy/bodies.lua",
        "agent/envoy/classify.lua",
        "policies/requests.table",
        "policies/schema.cedarschema",
        "controlplane/cli/demo/policy.cedar",
        "certs/py.typed",
    }
    assert wanted <= set(names)


def test_no_key_is_in_it(names) -> None:
    assert not [name for name in names if name.endswith((".pem", ".key", ".der"))]
