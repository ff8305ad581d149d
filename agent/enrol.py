"""Getting a certificate: the first with a join token or other evidence, later ones by renewal, a late one by grace.

The idempotency key and the new private key are on disk before the call, so that a lost reply is asked for again with the
same key, and gives the same certificate.
"""

import base64
import binascii
import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import grpc
from cryptography.hazmat.primitives.asymmetric import ec

from agent import attest, channel, contact, identity, roots
from agent.config import Config
from agent.errors import EnrolError, EvidenceWantedError
from agent.identity import Identity
from certs import canonical, keys
from certs.csr import make_csr
from certs.errors import CertError
from controlplane.api import files, status
from controlplane.api.gen import enrolment_pb2, enrolment_pb2_grpc, identity_pb2, identity_pb2_grpc
from policies.roots import Roots

PENDING, CA, DELEGATION, ENROLMENT = (
    "pending.json",
    "control-plane-ca.der",
    "delegation.json",
    "enrolment",
)
USED = "token.used"
CALL_S = 20
T = TypeVar("T")
RENEW_CONTEXT = b"writ-renew\n"
AGAIN = "a new join token helps: writ token create NODE --out FILE, then join.token_file"


@dataclass(frozen=True, slots=True)
class Pending:
    """A key that was made and may already have a certificate somewhere."""

    key: ec.EllipticCurvePrivateKey
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Token:
    """What a join token says; without text, what the settings of a node say that has other evidence."""

    text: str
    root_sha256: str
    addresses: tuple[str, ...]  # of enrolment services; any will do

    @property
    def name(self) -> bytes:
        """What tells it from another; nothing that helps to use it."""
        return hashlib.sha256(self.text.encode()).hexdigest().encode()


def read_token(path: Path) -> Token:
    try:
        text = path.read_text().strip()
        body = text.removeprefix("writ1.")
        fields = canonical.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)), 2048)
        return Token(text, str(fields["root"]), tuple(str(fields["addr"]).split(",")))
    except OSError as exc:
        raise EnrolError(f"cannot read the join token `{path}`: {exc.strerror}") from exc
    except (CertError, binascii.Error, ValueError, KeyError, TypeError) as exc:
        raise EnrolError(f"`{path}` holds no join token", hint="writ token create NODE --out FILE") from exc


def pending(directory: Path) -> Pending:
    """The key of an unfinished request, or a new one, kept before it is used."""
    raw = files.read(directory / PENDING)
    if raw is not None:
        document = json.loads(raw)
        key = keys.load_private(document["key"].encode(), None)
        if isinstance(key, ec.EllipticCurvePrivateKey):
            return Pending(key, document["idempotency_key"])
    made = Pending(keys.generate_p256(), secrets.token_urlsafe(24))
    document = {"key": keys.dump_private(made.key, None).decode(), "idempotency_key": made.idempotency_key}
    files.write(directory / PENDING, json.dumps(document).encode())
    return made


def done(directory: Path, made: Identity) -> None:
    """Keep the new identity, then forget the request: in this order nothing can be lost."""
    identity.save(directory, made)
    (directory / PENDING).unlink(missing_ok=True)


def introduction(config: Config) -> Token:
    """Whom to believe at first, and where. A token not used yet goes before other evidence: an operator put it there."""
    if config.token_file is not None and not (config.attest and _spent(config.token_file, config.state_dir)):
        return read_token(config.token_file)
    if not config.attest:
        hint = "writ token create NODE --out FILE, then join.token_file"
        raise EnrolError("this node has no identity and no join token", hint=hint)
    return Token("", config.root_sha256, config.enrolment)


def _spent(path: Path, directory: Path) -> bool:
    return not path.exists() or files.read(directory / USED) == read_token(path).name


async def enrol(config: Config, now: int, known: Roots | None = None) -> Identity:
    """The first certificate, below the roots that are `known`; else below that which the token names, or the settings do."""
    token = introduction(config)
    mine = pending(config.state_dir)

    async def ask(address: str) -> tuple[Roots, bytes, Any]:
        met, ca = await contact.meet(address, known or token.root_sha256, now)
        async with channel.anonymous(address, identity.trust_domain(met.newest), ca) as open_:
            stub = enrolment_pb2_grpc.EnrolmentStub(open_)
            csr = make_csr(mine.key)
            request = enrolment_pb2.EnrolRequest(
                token=token.text, csr=csr, idempotency_key=mine.idempotency_key
            )
            if not token.text:
                shown = await attest.evidence(config.attest, csr, _challenge(stub))
                request.evidence.CopyFrom(shown)
            reply = await _call(stub.Enrol(request, timeout=CALL_S))
        return met, ca, reply

    met, ca, reply = await _any(token.addresses, ask)
    if reply.root not in met.believed:
        raise EnrolError("the control plane answered with another root than it showed")
    made = _made(mine, reply, met, now)
    roots.begin(config.state_dir, met)
    files.write(config.state_dir / CA, ca)
    files.write(config.state_dir / DELEGATION, reply.delegation)
    files.write(config.state_dir / ENROLMENT, ",".join(token.addresses).encode())
    done(config.state_dir, made)
    return made


async def renew(
    directory: Path, open_: grpc.aio.Channel, known: Roots, now: int, source: attest.Source
) -> Identity:
    """The next certificate, with a new key."""
    mine = pending(directory)
    stub = identity_pb2_grpc.IdentityStub(open_)
    request = identity_pb2.RenewRequest(csr=make_csr(mine.key), idempotency_key=mine.idempotency_key)
    try:
        reply = await _call(stub.Renew(request, timeout=CALL_S))
    except EvidenceWantedError:
        request.evidence.CopyFrom(await attest.evidence(source, request.csr, _challenge(stub)))
        reply = await _call(stub.Renew(request, timeout=CALL_S))
    made = _made(mine, reply, known, now)
    done(directory, made)
    return made


async def renew_expired(
    directory: Path, old: Identity, known: Roots, now: int, source: attest.Source
) -> Identity:
    """A certificate for a machine that slept: it signs a challenge with the key of the one that has ended."""
    addresses = (files.read(directory / ENROLMENT) or b"").decode().split(",")
    mine = pending(directory)

    async def ask(address: str) -> tuple[Roots, Any]:
        # By the root, not by the CA of the first day: another replica shows its own.
        met, ca = await contact.meet(address, known, now)
        async with channel.anonymous(address, identity.trust_domain(met.newest), ca) as open_:
            stub = enrolment_pb2_grpc.EnrolmentStub(open_)
            request = enrolment_pb2.RenewExpiredRequest(
                leaf=old.chain[0], csr=make_csr(mine.key), idempotency_key=mine.idempotency_key
            )
            try:
                return met, await _proven(stub, request, old)
            except EvidenceWantedError:
                shown = await attest.evidence(source, request.csr, _challenge(stub))
                request.evidence.CopyFrom(shown)
                return met, await _proven(stub, request, old)

    met, reply = await _any(addresses, ask)
    made = _made(mine, reply, met, now)
    roots.keep(directory, met)  # first: the new certificate may be below a root that was not known
    done(directory, made)
    return made


def _made(mine: Pending, reply: Any, known: Roots, now: int) -> Identity:
    chain = tuple(reply.chain)
    return identity.make(mine.key, chain, known.above(chain[-1] if chain else b""), now)


async def _proven(
    stub: enrolment_pb2_grpc.EnrolmentStub, request: enrolment_pb2.RenewExpiredRequest, old: Identity
) -> Any:
    """The answer to a request that is signed with the old key, by a nonce of its own."""
    request.nonce = await _challenge(stub)(request.leaf)
    request.signature = keys.sign(old.key, RENEW_CONTEXT + request.nonce + request.csr)
    return await _call(stub.RenewExpired(request, timeout=CALL_S))


def _challenge(stub: Any) -> attest.Challenge:
    async def ask(leaf: bytes) -> bytes:
        reply = await _call(stub.Challenge(enrolment_pb2.ChallengeRequest(leaf=leaf), timeout=CALL_S))
        return bytes(reply.nonce)

    return ask


async def _any(addresses: Sequence[str], ask: Callable[[str], Awaitable[T]]) -> T:
    """The answer of the first control plane that gives one; else why the last one did not."""
    failed = EnrolError("no enrolment address is known")
    for address in addresses:
        try:
            return await ask(address)
        except EnrolError as exc:
            failed = exc
    raise failed


async def _call(call: Any) -> Any:
    try:
        return await call
    except grpc.aio.AioRpcError as exc:
        if status.wants_evidence(exc):
            raise EvidenceWantedError(exc.details() or "evidence is wanted") from exc
        denied = exc.code() is grpc.StatusCode.PERMISSION_DENIED
        raise EnrolError(exc.details() or exc.code().name, hint=AGAIN if denied else "") from exc
