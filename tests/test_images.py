"""The images without a container engine: their install steps into a clean prefix, started as the images start."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "images"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("extra", "lacks"), [("controlplane", "xds"), ("agent", "cedarpy")])
def test_the_install_steps_make_a_prefix_that_runs_and_holds_no_more_than_it_needs(
    tmp_path, extra, lacks
) -> None:
    prefix = tmp_path / "opt"
    subprocess.run([str(IMAGES / "install"), str(ROOT), str(prefix), extra], check=True, timeout=500)
    python = str(prefix / "bin" / "python")
    clean = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}

    def isolated(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-I", *words], cwd=tmp_path, env=clean, capture_output=True, text=True, check=False
        )

    assert f"python -I -m {extra}" in isolated("-m", extra, "--help").stdout
    assert isolated("-m", extra, "--config", "/nonexistent").returncode == 2
    assert isolated("-c", f"import {lacks}").returncode == 1
    assert isolated("-c", "import pip").returncode == 1
    if extra == "agent":
        found = isolated(
            "-c", "from agent.envoy import process; print(process.check_version(process.find_binary(None)))"
        )
        assert re.match(r"1\.\d+\.\d+", found.stdout), found.stderr


def test_an_unknown_image_is_refused(tmp_path) -> None:
    done = subprocess.run([str(IMAGES / "install"), str(ROOT), str(tmp_path / "p"), "cli"], check=False, capture_output=True, env=dict(os.environ))  # fmt: skip
    assert (done.returncode, (tmp_path / "p").exists()) == (2, False)


@pytest.mark.parametrize("name", ["controlplane", "agent"])
def test_an_image_has_two_stages_no_root_and_a_start_that_is_isolated(name) -> None:
    text = (IMAGES / f"{name}.Containerfile").read_text()
    assert text.count("FROM ${BASE}") == 2
    assert re.search(r"^USER 65532:65532$", text, re.MULTILINE)
    assert re.search(rf'^ENTRYPOINT \["/opt/writ/bin/python", "-I", "-m", "{name}"\]$', text, re.MULTILINE)
    assert re.search(r"^ARG BASE=\S+:\S+$", text, re.MULTILINE)
    assert f"/opt/writ {name}" in text
