"""A client that has never heard of Writ fetches, streams and validates against our socket."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import workloads
from workloads import ID, eventually, node_of, register

from controlplane.api.gen import admin_pb2

pytestmark = [pytest.mark.clients, pytest.mark.timeout(180)]
PYTHON = Path(sys.prefix) / "clients" / "bin" / "python"
WEB = f"{ID}/web"


def test_py_spiffe_fetches_streams_and_validates() -> None:
    assert PYTHON.exists(), "run: make test-long, or scripts/clients .venv"
    with workloads.one_node() as mesh:
        register(mesh, "web")
        with workloads.Workload(node_of(mesh).workload_socket) as caller:
            eventually(lambda: caller.names() == ["web"])
        command = [
            PYTHON,
            Path(__file__).with_name("spiffe_client.py"),
            f"unix://{node_of(mesh).workload_socket}",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
            found = {}
            for line in client.stdout or ():
                found |= json.loads(line)
                if (
                    found.get("waiting") and "rotated" not in found
                ):  # subscribed: now there is something to hear
                    narrow = admin_pb2.Attributes(groups=["clinical"], class_ceiling=1)
                    register(mesh, "web", attributes=narrow)
            assert client.wait(60) == 0
    assert found == {
        "svid": WEB,
        "chain": 2,
        "ids": [WEB],
        "roots": 1,
        "jwt": WEB,
        "audience": ["api"],
        "valid": WEB,
        "refused": True,
        "jwt_keys": 1,
        "jwt_source": WEB,
        "waiting": True,
        "rotated": True,
        "same": WEB,
    }
