"""A node whose workloads ask for identities: real control plane, real agent, the real socket; and a bare client of it."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import grpc
from mesh import ATTRIBUTES

from certs import bundle, keys
from controlplane.api.gen import admin_pb2, workload_pb2, workload_pb2_grpc
from controlplane.cli.demo.mesh import TRUST_DOMAIN, Mesh, Node
from controlplane.cli.errors import CliError

NODE, SITE = "app-1", "paris"
ID = f"spiffe://{TRUST_DOMAIN}/fr/{SITE}/{NODE}"
TD_ID = f"spiffe://{TRUST_DOMAIN}"
HEADER = (("workload.spiffe.io", "true"),)
ME = f"unix:uid:{os.getuid()}"
NOBODY = "unix:uid:4242"
CODE = grpc.StatusCode


@contextlib.contextmanager
def one_node(
    *, lease_max_s: int = 0, environment: Mapping[str, str] | None = None, **timing: float
) -> Iterator[Mesh]:
    """Below /tmp, with directories that other users may enter: they too connect to its socket.

    `environment` of the control plane: settings beyond those of every mesh.
    """
    directory = Path(tempfile.mkdtemp(prefix="writ-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        with Mesh(directory, **{"lease_s": 60, "heartbeat_s": 0.5, **timing}) as mesh:  # type: ignore[arg-type]
            mesh.init()
            mesh.control_plane.environment.update(environment or {})
            mesh.start_control_plane()
            mesh.site(SITE, "FR")
            node = mesh.prepare(f"{NODE}.{SITE}", ATTRIBUTES, serve=False, lease_max_s=lease_max_s)
            node.agent.start()
            node.agent.ports()
            eventually(node.workload_socket.exists)
            yield mesh
    finally:
        shutil.rmtree(directory)


def node_of(mesh: Mesh) -> Node:
    return mesh.nodes[f"{NODE}.{SITE}"]


def register(mesh: Mesh, name: str, *selectors: str, **more) -> None:
    request = admin_pb2.Workload(node=NODE, site=SITE, name=name, selectors=selectors or (ME,), **more)
    mesh.call("RegisterWorkload", request)


def remove(mesh: Mesh, name: str) -> None:
    mesh.call("RemoveWorkload", admin_pb2.RemoveWorkloadRequest(node=NODE, site=SITE, name=name))


def eventually(check, timeout_s: float = 20.0):
    """The first true value of `check`; a call that fails counts as not yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(grpc.RpcError, CliError, OSError):
            found = check()
            if found:
                return found
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


class Workload:
    """A process that asks. One channel; every call carries the header unless it is told otherwise."""

    def __init__(self, socket: Path, header=HEADER) -> None:
        self.channel = grpc.insecure_channel(f"unix:{socket}", [("grpc.use_local_subchannel_pool", 1)])
        self.stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(self.channel)
        self.header = header

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def stream(self, timeout_s: float = 30):
        return self.stub.FetchX509SVID(
            workload_pb2.X509SVIDRequest(), metadata=self.header, timeout=timeout_s
        )

    def svids(self) -> list[workload_pb2.X509SVID]:
        return list(next(self.stream()).svids)

    def names(self) -> list[str]:
        return [svid.spiffe_id.rpartition("/")[2] for svid in self.svids()]

    def bundles(self):
        request = workload_pb2.X509BundlesRequest()
        return dict(next(self.stub.FetchX509Bundles(request, metadata=self.header, timeout=30)).bundles)

    def jwt_bundles(self):
        request = workload_pb2.JWTBundlesRequest()
        return dict(next(self.stub.FetchJWTBundles(request, metadata=self.header, timeout=30)).bundles)

    def tokens(self, *audience: str, spiffe_id: str = "") -> list[workload_pb2.JWTSVID]:
        request = workload_pb2.JWTSVIDRequest(audience=audience, spiffe_id=spiffe_id)
        return list(self.stub.FetchJWTSVID(request, metadata=self.header, timeout=30).svids)

    def validate(self, token: str, audience: str = "api"):
        request = workload_pb2.ValidateJWTSVIDRequest(audience=audience, svid=token)
        return self.stub.ValidateJWTSVID(request, metadata=self.header, timeout=30)


def status(call, *arguments, **named) -> grpc.StatusCode:
    """How a call ends; OK if it does not fail."""
    try:
        call(*arguments, **named)
    except grpc.RpcError as exc:
        return exc.code()
    return CODE.OK


AS_USER = """
import os, sys
import grpc
sys.path[:0] = {path!r}
import workloads
os.setgroups([]); os.setresgid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
os.setresuid(int(sys.argv[1]), int(sys.argv[1]), int(sys.argv[1]))
with workloads.Workload(sys.argv[3]) as caller:
    try:
        print(" ".join(caller.names()))
    except grpc.RpcError as exc:
        print(exc.code().name)
"""


def names_as(socket: Path, uid: int, gid: int) -> str:
    """What a process of another user is, or the status it gets."""
    script = AS_USER.format(path=[str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", script, str(uid), str(gid), str(socket)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, cwd="/")
    return done.stdout.strip()


def jwt_key(mesh: Mesh):
    """(key id, private key) of the active JWT key: what a stolen control plane could sign with."""
    found = mesh.call("ListAuthorities", admin_pb2.ListAuthoritiesRequest()).authorities
    (active,) = (one.key_id for one in found if one.state == "active")
    for name in (mesh.directory / "controlplane" / "keys").glob("jwt-*.pem"):
        key = signing_key(mesh, name.stem)
        if bundle.key_id(key.public_key()) == active:
            return active, key
    raise AssertionError("the signer does not hold the active key")


def signing_key(mesh: Mesh, name: str):
    directory = mesh.directory / "controlplane"
    passphrase = (directory / "passphrase").read_bytes().strip()
    return keys.load_private((directory / "keys" / f"{name}.pem").read_bytes(), passphrase)
