"""A whole mesh on loopback: real processes, started, watched and ended by pid. The demo, end-to-end tests and benchmarks
run on it.

Nothing here reaches into a process: it uses settings files, the API, and the ports that processes say they bound.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from controlplane.api.gen import admin_pb2
from controlplane.cli import context
from controlplane.cli.client import Client
from controlplane.cli.demo.etcd import Etcd
from controlplane.cli.demo.processes import POLL_S, START_S, MeshError, Process, Replica, replace_line

TRUST_DOMAIN = "demo.example"


@dataclass
class Node:
    """One node: its agent (with Envoy) and the AI server beside it."""

    name: str  # `<node>.<site>`
    directory: Path
    agent: Process
    server: Process | None

    @property
    def state(self) -> Path:
        return self.directory / "var"

    @property
    def workload_socket(self) -> Path:
        return self.directory / "workload.sock"

    @property
    def evidence(self) -> Path:
        return self.state / "evidence"

    @property
    def known_ports(self) -> dict[str, int]:
        return dict(json.loads((self.state / "ports.json").read_text()))

    def egress(self) -> str:
        """Where a local application sends requests: an HTTP address."""
        return f"http://127.0.0.1:{self.known_ports['egress']}"

    def envoy_pid(self) -> int:
        return int(json.loads((self.state / "envoy" / "envoy.pid").read_text())["pid"])

    def kill_envoy(self, number: int = signal.SIGKILL) -> None:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            os.kill(self.envoy_pid(), number)


class Mesh:
    """Everything in one directory. Use as a context manager: nothing stays behind."""

    def __init__(
        self,
        directory: Path,
        *,
        lease_s: int = 900,
        heartbeat_s: float = 10.0,
        svid_s: int = 3600,
        store: str = "sqlite",
        replicas: int = 1,
        etcd_members: int = 1,
        trust_domain: str = TRUST_DOMAIN,
        init_options: Sequence[str] = (),
    ) -> None:
        self.directory, self.trust_domain, self._init_options = directory, trust_domain, init_options
        self.nodes: dict[str, Node] = {}
        self._timing = {"lease_s": lease_s, "heartbeat_s": heartbeat_s, "svid_lifetime_s": svid_s}
        self._client: Client | None = None
        self.etcd = Etcd(directory / "etcd", etcd_members) if store == "etcd" else None
        self.replicas = [Replica(directory, number) for number in range(1, replicas + 1)]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def control_plane(self) -> Process:
        """The first replica's process."""
        return self.replicas[0].process

    @control_plane.setter
    def control_plane(self, process: Process) -> None:
        self.replicas[0].process = process

    # --- control plane -----------------------------------------------------------------------------------------

    def init(self) -> None:
        """`writ init`, with ports to be picked by the system, and the timing of this mesh."""
        first = self.replicas[0]
        command = [sys.executable, "-m", "controlplane", "init", "--trust-domain", self.trust_domain]
        command += ["--dir", str(first.state), "--config", str(first.config)]
        command += ["--address", "127.0.0.1:0", "--enrolment", "127.0.0.1:0", "--context", "demo"]
        command += ["--out-context", str(self.context_file), *self._init_options]
        if self.etcd is not None:
            if not self.etcd.members:
                self.etcd.__enter__()
            command += ["--store", "etcd"]
            command += [word for one in self.etcd.endpoints for word in ("--etcd-endpoint", one)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        with first.config.open("a") as file:
            file.write(
                "\n[identity]\n" + "".join(f"{key} = {value}\n" for key, value in self._timing.items())
            )

    @property
    def context_file(self) -> Path:
        return self.directory / "cli" / "config.toml"

    def start_control_plane(self) -> None:
        """Every replica; those that have not joined yet join."""
        for replica in self.replicas:
            if not replica.config.exists():
                self._join(replica)
            if replica.process.child is None or replica.process.child.poll() is not None:
                self._start(replica)
        self.connect()

    def _start(self, replica: Replica) -> None:
        replica.process.start()
        ports = replica.process.ports()
        replica.api = f"127.0.0.1:{ports['api']}"
        replica.pin(ports)
        if replica is self.replicas[0]:
            replace_line(self.context_file, 'address = "127.0.0.1:0"', f'address = "{replica.api}"')

    def _join(self, replica: Replica) -> None:
        """`writ controlplane join`, on the machine that also has the root."""
        first = self.replicas[0]
        replica.configure_like(first)
        command = [sys.executable, "-m", "controlplane", "join", "--config", str(replica.config)]
        command += ["--root", str(first.state), "--context", "demo", "--out-context", str(self.context_file)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        self._start(replica)
        context_text = self.context_file.read_text()
        self.context_file.write_text(context_text.replace(",127.0.0.1:0", f",{replica.api}"))

    def connect(self) -> None:
        """The operator's client, to the first replica that answers."""
        if self._client is not None:
            self._client.close()
        self._client = Client(self.context(), timeout_s=30)

    def context(self) -> context.Context:
        os.environ["WRIT_CONFIG"] = str(self.context_file)
        return context.load("demo")

    @property
    def client(self) -> Client:
        if self._client is None:
            raise RuntimeError("start the control plane first")
        return self._client

    def call(self, method: str, request: Any) -> Any:
        """One call of the Admin API by name."""
        return self.client.call(getattr(self.client.stub, method), request)

    # --- nodes -------------------------------------------------------------------------------------------------

    def site(self, name: str, jurisdiction: str) -> None:
        self.call("AddSite", admin_pb2.Site(name=name, jurisdiction=jurisdiction))

    def prepare(
        self, name: str, attributes: admin_pb2.Attributes, *, serve: bool = True, lease_max_s: int = 0
    ) -> Node:
        """A node's directory, token and settings; its server is started, its agent not yet."""
        directory = self.directory / name
        (directory / "var").mkdir(parents=True)
        self.token(name, attributes)
        settings = [
            f'state_dir = "{directory / "var"}"',
            "control_planes = [" + ", ".join(f'"{one.api}"' for one in self.replicas) + "]",
            "[join]",
        ]
        settings += [f'token_file = "{directory / "token"}"', "[ingress]", 'listen = "127.0.0.1:0"']
        settings += ["[egress]", 'listen = "127.0.0.1:0"', "[lease]", f"max_s = {lease_max_s}"]
        settings += ["[workload]", f'socket = "{directory / "workload.sock"}"']
        (directory / "agent.toml").write_text("\n".join(settings) + "\n")
        agent = Process(
            f"agent {name}",
            [sys.executable, "-m", "agent", "--config", str(directory / "agent.toml")],
            directory / "agent.log",
            directory / "var" / "ports.json",
        )
        server = self._server(directory, name) if serve else None
        made = self.nodes[name] = Node(name=name, directory=directory, agent=agent, server=server)
        return made

    def _server(self, directory: Path, name: str) -> Process:
        port_file = directory / "server.port"
        command = [sys.executable, "-m", "controlplane.cli.demo.server", "--port-file", str(port_file)]
        server = Process(f"server {name}", command, directory / "server.log", port_file)
        server.environment["OPENBLAS_NUM_THREADS"] = "1"
        server.start()
        return server

    def token(self, name: str, attributes: admin_pb2.Attributes | None = None) -> None:
        """A fresh join token for a node, in its directory."""
        node, _, site = name.partition(".")
        request = admin_pb2.CreateTokenRequest(node=node, site=site)
        if attributes is not None:
            request.attributes.CopyFrom(attributes)
        token = self.call("CreateToken", request).token
        path = self.directory / name / "token"
        path.write_text(token)
        path.chmod(0o600)

    def server_port(self, name: str) -> int:
        server = self.nodes[name].server
        if server is None:
            raise RuntimeError(f"`{name}` has no server")
        deadline = time.monotonic() + START_S
        while not server.ports_file.exists() and time.monotonic() < deadline:
            time.sleep(POLL_S)
        return int(server.ports_file.read_text())

    def resources(self, *resources: admin_pb2.Resource, groups: Sequence[tuple[str, str]] = ()) -> None:
        request = admin_pb2.ApplyResourcesRequest(resources=resources)
        for kind, name in groups:
            request.groups.add(kind=kind, name=name)
        self.call("ApplyResources", request)

    def policy(self, text: str, *, now: bool = True) -> Any:
        request = admin_pb2.ApplyPolicyRequest(now=now)
        request.source.files.add(name="policy.cedar", text=text)
        done = self.call("ApplyPolicy", request)
        if done.findings and any(f.severity == "error" for f in done.findings):
            raise MeshError("; ".join(f.message for f in done.findings))
        return done

    def find(self, name: str) -> Any:
        """A node as the control plane sees it."""
        node, _, site = name.partition(".")
        return self.call("GetNode", admin_pb2.GetNodeRequest(node=node, site=site))

    def revoke(self, name: str, reason: str = "") -> Any:
        node, _, site = name.partition(".")
        return self.call("RevokeNode", admin_pb2.RevokeNodeRequest(node=node, site=site, reason=reason))

    def wait_enforced(self, *names: str, timeout_s: float = START_S) -> None:
        """Until these nodes (all, if none is named) enforce the newest generation and policy."""
        wanted = set(names or self.nodes)
        deadline = time.monotonic() + timeout_s
        while True:
            status = self.call("GetStatus", admin_pb2.GetStatusRequest())
            done = {
                f"{n.node}.{n.site}"
                for n in status.nodes
                if n.generation == status.generation and n.policy_version == status.policy_now and n.connected
            }
            if wanted <= done:
                return
            if time.monotonic() > deadline:
                raise MeshError(f"not enforced in time by {', '.join(sorted(wanted - done))}")
            time.sleep(POLL_S * 4)

    # --- the end -----------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End every process that was started here, Envoys included."""
        for node in self.nodes.values():
            node.agent.kill()
            node.kill_envoy()
            if node.server is not None:
                node.server.kill()
        if self._client is not None:
            self._client.close()
        for replica in self.replicas:
            replica.process.kill()
        if self.etcd is not None:
            self.etcd.stop()
