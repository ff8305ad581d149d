"""One real Envoy as callee, configured by our own code, with a real backend behind it, and callers with any certificate.

For attacks on the data plane: what a caller sends is what arrives, and the backend tells what it received. A mutant is this
sidecar with one control switched off.
"""

import asyncio
import contextlib
import http.client
import json
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pki import CLINICAL, TD, Leaf, Pki

from agent import identity, judge
from agent.envoy import bootstrap, process, sessions
from agent.envoy.ads import AdsServer
from agent.envoy.dataplane import DataPlane
from agent.envoy.settings import EnvoySettings
from agent.state import Enforceable, Lease
from certs import keys
from certs.attributes import Attributes
from policies import compile as compiler
from policies import parse
from policies.documents import Peer, PeersBlob, RulesBlob, ServedResource, Ticket, TrustDocument
from policies.model import ResourceKey, Rules
from policies.trusted import TrustedBundle

POLICY = """
@id("clinical-chat")
permit (principal in Group::"clinical", action in [Action::"infer", Action::"embed"], resource in ModelGroup::"clinical")
when { context.purpose == "treatment" && context.data_class <= 2 };
@id("list")
permit (principal in Group::"clinical", action == Action::"discover", resource);
@id("no-research-region")
forbid (principal, action, resource) when { context has subject_region && context.subject_region == "us" };
"""
CALLEE = "gpu-1.berlin"
MAX_ANSWER = 1024
NOTHING = Rules(rules=(), resources=frozenset())
CALLER = replace(CLINICAL, purposes=frozenset({"treatment", "research"}), regions=frozenset({"fr", "us"}))


class Backend(ThreadingHTTPServer):
    """Remembers what reached it."""

    daemon_threads = True
    pause_s = 0.005  # between the words of a stream

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Echo)
        self.seen: list[dict[str, Any]] = []
        self.closed = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer(self, _seen: dict[str, Any]) -> tuple[str, bytes]:
        """Content type and body."""
        return "application/json", b"{}"

    def head(self, seen: dict[str, Any]) -> tuple[int, dict[str, str]]:
        """Status and more headers. Every caller is given the same session: the worst that a server can do."""
        return 200, {"mcp-session-id": "s-1"} if '"initialize"' in seen["body"] else {}

    def handle_error(self, *_: object) -> None:
        """A connection that was cut is no fault of ours."""


class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Backend

    def do_POST(self) -> None:
        if self.headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
        seen = {
            "method": self.command,
            "path": self.path,
            "headers": dict(self.headers.items()),
            "body": body.decode("latin-1"),
        }
        self.server.seen.append(seen)
        if self.headers.get("upgrade") == "websocket":
            self._mirror()
            return
        kind, answer = self.server.answer(seen)
        status, more = self.server.head(seen)
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        if b'"stream":true' in body and kind == "application/json":
            self._words()
            return
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    def _words(self) -> None:
        """An answer without end, a word now and then, until somebody cuts it."""
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.wfile.write(b"5\r\nword \r\n")
            while not self.server.closed.wait(self.server.pause_s):
                self.wfile.write(b"5\r\nword \r\n")

    def _mirror(self) -> None:
        """Behind the handshake: what comes goes back."""
        self.send_response(101)
        self.send_header("connection", "upgrade")
        self.send_header("upgrade", "websocket")
        self.end_headers()
        while data := self.connection.recv(65536):
            self.wfile.write(data)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().partition(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    do_GET = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = do_POST

    def log_message(self, *_: object) -> None:
        pass


@dataclass
class Answer:
    """What the caller got: status and denial code; 0 when the connection was refused. `session`: what it was told of one."""

    status: int
    code: str
    session: str = field(default="", compare=False)

    @property
    def allowed(self) -> bool:
        return self.status == 200


@dataclass
class Sidecar:
    """A running callee. Start with `running`."""

    pki: Pki
    backend: Backend
    port: int = 0
    egress_port: int = 0
    directory: Path = Path()
    caller: Leaf = field(init=False)

    def __post_init__(self) -> None:
        self.caller = self.pki.node("app-1", "paris", "FR", CALLER)

    def ask(
        self,
        leaf: Leaf | None = None,
        *,
        body: bytes | None = b'{"model":"ngram"}',
        headers: list[tuple[str, str]] | None = None,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        context: ssl.SSLContext | None = None,
        claims: bool = True,
    ) -> Answer:
        """One request over mTLS, exactly as given; `claims` adds good ones."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1", self.port, timeout=10, context=context or tls(leaf or self.caller)
        )
        return _exchange(connection, method, path, headers, body, claims=claims)

    def send(
        self,
        host: str,
        *,
        body: bytes | None = b'{"model":"ngram"}',
        headers: list[tuple[str, str]] | None = None,
        path: str = "/v1/chat/completions",
        method: str = "POST",
        claims: bool = True,
    ) -> Answer:
        """One request of a local application, through this sidecar to a peer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.egress_port, timeout=10)
        return _exchange(connection, method, path, headers, body, claims=claims, host=host)


def _exchange(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    headers: list[tuple[str, str]] | None,
    body: bytes | None,
    *,
    claims: bool,
    host: str = "",
) -> Answer:
    try:
        connection.putrequest(method, path, skip_host=bool(host), skip_accept_encoding=True)
        if host:
            connection.putheader("host", host)
        good = (
            [("writ-purpose", "treatment"), ("writ-data-class", "1"), ("writ-subject-region", "fr")]
            if claims
            else []
        )
        for name, value in [*good, *(headers or [])]:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("content-length", str(len(body)))
        connection.endheaders(body)
        response = connection.getresponse()
        text = response.read(MAX_ANSWER)  # a stream may have no end
    except (OSError, http.client.HTTPException) as exc:
        return Answer(0, type(exc).__name__)
    finally:
        connection.close()
    session = response.headers.get("mcp-session-id", "")
    try:
        error = json.loads(text)["error"]
        return Answer(response.status, str(error.get("data", error)["code"]), session)
    except (ValueError, KeyError, TypeError):
        return Answer(response.status, "", session)


def tls(leaf: Leaf | None, *, maximum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """A caller's context; no leaf: no certificate. Who answers is not checked: the caller is the attacker."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = maximum
    if leaf is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(keys.dump_private(leaf.key, None) + identity.pem(leaf.der))
            file.flush()
            context.load_cert_chain(file.name)
    return context


KEYS = (ResourceKey("Model", "ngram", CALLEE), ResourceKey("Service", "openai", CALLEE))


def facts(keys: tuple[ResourceKey, ...] = KEYS) -> list[compiler.ResourceFacts]:
    """Models are in the group `clinical`."""
    return [
        compiler.ResourceFacts(
            key=key,
            groups=frozenset({"clinical"} if key.kind == "Model" else ()),
            owner="berlin",
            max_class=4,
            site="berlin",
            jurisdiction="DE",
        )
        for key in keys
    ]


def rules(policy: str = POLICY, keys: tuple[ResourceKey, ...] = KEYS) -> Rules:
    return compiler.compile_ingress(parse.load({"test.cedar": policy}), facts(keys))


def own(mine: identity.Identity, port: int, policy: str, keys: tuple[ResourceKey, ...]) -> tuple[Rules, Peer]:
    """A node that is its own peer: what it sends goes through both directions of one sidecar."""
    me = judge.principal(mine.spiffe_id, mine.attributes)
    outward = compiler.compile_egress(parse.load({"test.cedar": policy}), me, facts(keys))
    return outward, Peer(node=CALLEE, spiffe_id=str(mine.spiffe_id), address=f"127.0.0.1:{port}")


def state(
    pki: Pki, port: int, mine: identity.Identity, *, policy: str = POLICY, **changes: Any
) -> Enforceable:
    """What the sidecar enforces; `floors`, `lease_s`, and for a caller `egress` and `peers` may be changed. `loop`: the
    port at which the node is its own peer.
    """
    keys = changes.get("resources", KEYS)
    ingress = rules(policy, keys)
    served = tuple(ServedResource(key=key, port=port) for key in sorted(ingress.resources))
    ticket = Ticket(
        trust_domain=TD,
        node=str(mine.spiffe_id),
        generation=changes.get("generation", 7),
        policy_version=1,
        issued_at=0,
        rules="",
        peers="",
        features=(),
    )
    trust = TrustDocument(
        trust_domain=TD,
        generation=changes.get("generation", 7),
        roots=(pki.root,),
        node_cas=(pki.node_ca,),
        control_plane_cas=(pki.cp_ca,),
        floors=changes.get("floors", {}),
        policy_min=1,
        policy_now=1,
    )
    lease_s = changes.get("lease_s", 600)
    lease = Lease(
        until=int(time.time()) + lease_s, boottime_until=time.clock_gettime(time.CLOCK_BOOTTIME) + lease_s
    )
    if "loop" in changes:
        outward, peer = own(mine, changes["loop"], policy, keys)
        changes |= {"egress": outward, "peers": (peer,)}
    blob = RulesBlob(ingress=ingress, egress=changes.get("egress", NOTHING), served=served)
    bundle = TrustedBundle(ticket=ticket, rules=blob, peers=PeersBlob(peers=changes.get("peers", ())))
    return Enforceable(
        identity=mine, trust=trust, bundle=None if changes.get("no_bundle") else bundle, lease=lease
    )


class Running:
    """Starts the sidecar on an event loop of its own thread; a context manager.

    As the callee gpu-1.berlin, unless another PKI and certificate are given.
    """

    def __init__(self, pki: Pki | None = None, leaf: Leaf | None = None, **changes: Any) -> None:
        self._pki, self._leaf, self._changes = pki, leaf, changes
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._directory = tempfile.TemporaryDirectory(prefix="writ-sidecar-")

    def __enter__(self) -> Sidecar:
        self._thread.start()
        pki = self._pki or Pki(now=int(time.time()))
        self.sidecar = Sidecar(pki=pki, backend=Backend(), directory=Path(self._directory.name))
        self.run(self._start())
        return self.sidecar

    def run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _start(self) -> None:
        pki, directory = self.sidecar.pki, self.sidecar.directory
        attributes = self._changes.pop("attributes", Attributes(class_ceiling=4))
        leaf = self._leaf or pki.node("gpu-1", "berlin", "DE", attributes)
        mine = identity.make(leaf.key, (leaf.der, pki.node_ca), pki.root, pki.now)
        settings = EnvoySettings(
            directory=directory,
            access_log=directory / "access.log",
            trust_domain=TD,
            spiffe_id=str(mine.spiffe_id),
            boot="test",
            session_key=sessions.key(directory),
            ingress_host="127.0.0.1",
            ingress_port=0,
            egress_port=0,
            max_body_bytes=1 << 20,
        )
        settings = replace(settings, **self._changes.pop("settings", {}))
        self._ads = AdsServer(settings.xds_socket)
        await self._ads.start()
        self._envoy = process.EnvoyProcess(process.find_binary(None), directory, 1, 20)
        self.plane = DataPlane(self._ads, settings)
        self.plane.close(mine)
        self._envoy.start(bootstrap.render(settings), "test")
        ports = await self._envoy.listening()
        self.sidecar.port, self.sidecar.egress_port = ports["ingress"], ports["egress"]
        self.mine = mine
        if self._changes.pop("loop", False):
            self._changes["loop"] = self.sidecar.port
        if self._changes.get("enforce", True):
            await self.enforce(**self._changes)

    async def enforce(self, **changes: Any) -> None:
        port = changes.pop("backend_port", self.sidecar.backend.server_port)
        wanted = state(self.sidecar.pki, port, self.mine, **changes)
        await self.plane.shut(wanted, recording=changes.get("recording", True))
        await self.plane.load(wanted)

    def __exit__(self, *_: object) -> None:
        self._envoy.stop()
        self.run(self._envoy.died())
        self.run(self._ads.stop())
        self.sidecar.backend.closed.set()
        self.sidecar.backend.shutdown()
        self.sidecar.backend.server_close()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._directory.cleanup()


Send = Callable[[Sidecar], Answer]
