"""Where keys and tokens are, and who else could read them. Invariant 9."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from attacks import mutants
from attacks.control import Control
from attacks.desk import Desk
from pki import Pki
from sidecar import Running

from agent import enrol, identity
from agent.envoy import ads, bootstrap
from agent.statements import Statements
from certs import keys
from certs.errors import KeyFormatError
from controlplane.api import files
from controlplane.attest import token as tokens
from controlplane.services.identity import nodes
from controlplane.services.mesh import setup
from controlplane.signer.file import FileSigner

PKI = Pki()
OTHERS = 0o077
PRIVATE = b"PRIVATE KEY"
PASSPHRASE = b"a passphrase of this test"


def holding_keys(directory: Path) -> Iterator[Path]:
    for path in directory.rglob("*"):
        if path.is_file() and PRIVATE in path.read_bytes():
            yield path


def stolen(make: Callable[[Path], object]) -> Callable[[Path], bool]:
    """Something that holds a key is made: may anybody but its owner read it?"""

    def attack(directory: Path) -> bool:
        make(directory)
        found = list(holding_keys(directory))
        assert found, "no key was written"
        return any(path.stat().st_mode & OTHERS for path in found)

    return attack


def own_identity() -> identity.Identity:
    leaf = PKI.node()
    return identity.make(leaf.key, (leaf.der, PKI.node_ca), PKI.root, PKI.now)


def signer(directory: Path) -> FileSigner:
    made = FileSigner(directory / "keys", PASSPHRASE)
    made.create("node-ca-1", "p256")
    made.create("documents-1", "ed25519")
    return made


def copied_without_passphrase(directory: Path) -> bool:
    """A copy of the key files, from a backup say."""
    signer(directory)
    opened = []
    for path in holding_keys(directory):
        try:
            opened.append(keys.load_private(path.read_bytes(), None))
        except KeyFormatError:
            continue
    return bool(opened)


def passphrase_read(directory: Path) -> bool:
    setup.prepare_directory(directory / "state", directory / "secret" / "passphrase")
    return bool((directory / "secret" / "passphrase").stat().st_mode & OTHERS)


def socket_open_to_others(name: str) -> Callable[[Path], bool]:
    """Whoever connects to the agent's socket is given the node's key; to Envoy's admin socket, all it knows."""

    def attack(_: Path) -> bool:
        with Running() as sidecar:
            return bool((sidecar.directory / name).stat().st_mode & OTHERS)

    return attack


def key_beside_envoy(_: Path) -> bool:
    """What Envoy is started with, and what it writes, holds no key: that comes over the socket."""
    with Running() as sidecar:
        return bool(list(holding_keys(sidecar.directory)))


def spoken_to_from_elsewhere(_: Path) -> bool:
    """The egress listener is for this host's applications: whoever reaches it speaks as the node."""
    with Running() as sidecar:
        try:
            socket.create_connection(("127.0.0.2", sidecar.egress_port), timeout=3).close()
        except OSError:
            return False
    return True


async def token_in_the_store(desk: Desk) -> bool:
    """Whoever reads the store, or a backup of it, has no token."""
    secret = tokens.parse(await desk.invited("gpu-1")).secret
    kept = [item.key.encode() + item.value for item in desk.store._items.values()]
    return any(secret in one or secret.hex().encode() in one for one in kept)


async def token_in_a_log(desk: Desk) -> bool:
    token = tokens.parse(await desk.invited("gpu-1"))
    return token.secret.hex() in f"{token!r} {token}" or str(token.secret) in repr(token)


CONTROLS = (
    Control(
        9,
        "agent: keys are the agent's alone",
        [
            ("the identity", stolen(lambda d: identity.save(d, own_identity()))),
            ("the key of a request under way", stolen(enrol.pending)),
            ("the key of the log", stolen(lambda d: Statements(d, own_identity()))),
            ("a key beside Envoy", key_beside_envoy),
        ],
        mutants.code(files, "write_all", "0o600", "0o644"),
    ),
    Control(
        9,
        "agent: its socket is Envoy's alone",
        [("another user asks for the key", socket_open_to_others("xds.sock"))],
        mutants.code(ads.AdsServer, "start", "self._socket.chmod(0o600)", "self._socket.chmod(0o666)"),
    ),
    Control(
        9,
        "Envoy: its admin socket is ours alone",
        [("another user asks Envoy", socket_open_to_others("admin.sock"))],
        mutants.code(bootstrap, "_document", '"mode": 0o600', '"mode": 0o666'),
    ),
    Control(
        9,
        "Envoy: egress on loopback",
        [("a request from another address", spoken_to_from_elsewhere)],
        mutants.listener("egress", "address", "socket_address", "address", value="0.0.0.0"),
    ),
    Control(
        9,
        "signer: keys at rest are encrypted",
        [("a copy of the key files", copied_without_passphrase)],
        mutants.code(
            FileSigner, "adopt", "keys.dump_private(key, self._passphrase)", "keys.dump_private(key, None)"
        ),
    ),
    Control(
        9,
        "signer: keys are its own alone",
        [("another user reads the key files", stolen(signer))],
        mutants.code(FileSigner, "adopt", "0o600", "0o644"),
    ),
    Control(
        9,
        "signer: so is the passphrase",
        [("another user reads the passphrase", passphrase_read)],
        mutants.code(setup, "prepare_directory", "0o600", "0o644"),
    ),
)
TOKENS = (
    Control(
        9,
        "tokens: only their hash is kept",
        [("a copy of the store", token_in_the_store)],
        mutants.code(
            nodes,
            "stored_name",
            'hashlib.sha256(b"writ-join-token\\n" + secret).hexdigest()',
            "secret.hex()",
        ),
    ),
    Control(
        9,
        "tokens: not in logs",
        [("a token that is printed", token_in_a_log)],
        mutants.code(tokens.JoinToken, "__repr__", "node={self.node!r}", "secret={self.secret!r}"),
    ),
)
