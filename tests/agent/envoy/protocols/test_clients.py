"""Real clients, each in an environment of its own, through a running sidecar. With `WRIT_CAPTURE=1` what they send is kept."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import captured
import pytest
from captured import Captured
from grpc_backend import GrpcBackend
from harness import Answering, running
from recorder import Recorder
from sidecar import CALLEE

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

CLIENTS = {
    "openai": "openai==3.57.0",
    "tritonclient": "tritonclient[grpc,http]==2.73.0",
    "flwr": "flwr==1.42.0",
    "mcp": "mcp==2.3.0",
    "a2a": "a2a-sdk[grpc,http-server]==1.3.0",
}
DENIED = {
    "openai": ["unknown_resource"],
    "tritonclient": ["no such resource is declared", "PERMISSION_DENIED unknown_resource"],
    "flwr": [],
    "mcp": ["auto {'result': 3}", "legacy {'result': 3}", "auto denied", "legacy denied"],
    "a2a": ["denied"],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of environments; `WRIT_CLIENTS` keeps them from one run to the next."""
    kept = os.environ.get("WRIT_CLIENTS")
    return Path(kept) if kept else tmp_path_factory.mktemp("clients")


def interpreter(folder: Path, client: str) -> Path:
    python = folder / client / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", folder / client], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", CLIENTS[client]], check=True)
    return python


@pytest.fixture
def servers() -> Iterator[tuple[Answering, GrpcBackend]]:
    web = Answering()
    with GrpcBackend(answer=b"") as rpc:
        yield web, rpc
    web.shutdown()
    web.server_close()


@pytest.mark.parametrize("client", CLIENTS)
def test_a_real_client_works_through_the_sidecar(client, folder, servers) -> None:
    web, rpc = servers
    script = Path(__file__).parent / "clients" / f"{client}.py"
    process = subprocess.Popen(
        [interpreter(folder, client), script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with ExitStack() as stack, process:
        said = process.stdout.readline().split()
        assert said[:1] == ["ready"]
        first = stack.enter_context(running(int(said[1]) if said[1:] else web.server_port))
        second = stack.enter_context(running(rpc.port))
        recorder = stack.enter_context(Recorder(first.egress_port))
        output, _ = process.communicate(
            f"{recorder.url} 127.0.0.1:{second.egress_port} {CALLEE}.mesh\n", timeout=120
        )
        assert process.returncode == 0
        requests = [*recorder.requests, *map(called, rpc.seen)]
    assert [words for words in DENIED[client] if words not in output] == [], output
    kept = captured.FOLDER / f"{client}.json"
    if os.environ.get("WRIT_CAPTURE"):
        captured.save(client, CLIENTS[client].partition("==")[2], requests)
    assert {(one.method, one.target) for one in captured.load(client)} == {
        (one.method, one.target) for one in requests
    }, kept


def called(received) -> Captured:
    """What the gRPC server received; what the sidecar added is taken away."""
    added = ("writ-", "x-")
    headers = tuple((key, value) for key, value in received.metadata.items() if not key.startswith(added))
    return Captured("POST", received.method, headers, messages=tuple(received.messages))
