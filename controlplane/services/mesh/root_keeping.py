"""The root in the hands of people: sign what replicas request, keep it in a safe, take it out again.

A backup holds the root's private key and the public halves of the mesh, sealed under a passphrase or under shares
(`certs.sealed`). It is read back before anything is removed.
"""

import base64
import os
from dataclasses import dataclass
from pathlib import Path

from certs import authority, canonical, keys, sealed, verify
from certs.errors import CertError, EnvelopeError
from controlplane.errors import ExistsError, InvalidError
from controlplane.services.authority import authorities
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import setup
from controlplane.signer.file import FileSigner

ROOT = "root"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a backup holds."""

    key: bytes  # PKCS#8 PEM, not encrypted: what is around it is
    authorities: str  # the file of public halves, as it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Backup:
    """A file for a safe, and shares for several people, if it is sealed under shares."""

    sealed: bytes
    shares: tuple[str, ...] = ()


def sign(
    made: Authorities, signer: FileSigner, requests: list[bytes], *, now: int, lifetime_s: int
) -> list[bytes]:
    """A CA (DER) for each request (PKCS#10, DER); InvalidError, and nothing is signed, when one is no request of this mesh."""
    try:
        wanted = [authority.read_request(der, made.trust_domain) for der in requests]
    except CertError as exc:
        raise InvalidError(str(exc)) from exc
    return [
        authority.make_issuing_ca(
            kind,
            made.root,
            signer.ceremony_key(ROOT),
            public,
            serial=setup.new_serial(),
            now=now,
            lifetime_s=lifetime_s,
        )
        for kind, public in wanted
    ]


def backup(
    directory: Path, signer: FileSigner, *, passphrase: bytes = b"", shares: tuple[int, int] | None = None
) -> Backup:
    """Seal what `directory` holds of the root: under a passphrase, or under (count, threshold) shares."""
    kept = Kept(
        key=keys.dump_private(signer.ceremony_key(ROOT), None),
        authorities=(directory / authorities.FILE).read_text(),
    )
    try:
        if shares is not None:
            data, given = sealed.seal_shared(_dump(kept), *shares, os.urandom)
            made = Backup(sealed=data, shares=tuple(given))
            opened = sealed.open_shared(data, given[: shares[1]])
        else:
            made = Backup(sealed=sealed.seal(_dump(kept), passphrase, os.urandom))
            opened = sealed.open_sealed(made.sealed, passphrase)
    except CertError as exc:
        raise InvalidError(str(exc)) from exc
    if opened != _dump(kept):
        raise RuntimeError("a backup must open as it was sealed")
    return made


def opened(data: bytes, *, passphrase: bytes = b"", shares: tuple[str, ...] = ()) -> Kept:
    """InvalidError when it does not open, or holds no root."""
    try:
        secret = sealed.open_shared(data, shares) if shares else sealed.open_sealed(data, passphrase)
        fields = canonical.loads(secret, MAX_BYTES)
        return Kept(key=base64.b64decode(fields["key"]), authorities=str(fields["authorities"]))
    except (CertError, EnvelopeError, ValueError, KeyError, TypeError) as exc:
        raise InvalidError(f"the backup cannot be used: {exc}") from exc


def restore(kept: Kept, directory: Path, signer: FileSigner) -> Authorities:
    """The root into `directory`: a new one, or that of a replica of the same mesh; ExistsError when it holds another root."""
    path = directory / authorities.FILE
    fresh = not path.exists()
    if fresh:
        path.write_text(kept.authorities)
    try:
        made = authorities.load(directory, signer)
        root_key = keys.load_private(kept.key, None)
        if keys.spki(root_key.public_key()) != keys.spki(verify.load(made.root).public_key()):  # type: ignore[arg-type]  # P-256, ours
            raise ExistsError(f"`{directory}` is of a mesh with another root")
        signer.adopt(ROOT, root_key)
    except BaseException:
        if fresh:
            path.unlink()
        raise
    return made


def _dump(kept: Kept) -> bytes:
    return canonical.dumps({"key": base64.b64encode(kept.key).decode(), "authorities": kept.authorities})
