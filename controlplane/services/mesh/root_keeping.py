"""The root in the hands of people: sign what replicas request, keep it in a safe, take it out again.

A backup holds the root's private key and the public halves of the mesh, sealed under a passphrase or under shares
(`certs.sealed`). It is read back before anything is removed.
"""

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

from certs import authority, canonical, keys, sealed
from certs.errors import CertError, EnvelopeError
from controlplane.api import files
from controlplane.errors import ExistsError, InvalidError
from controlplane.services.authority import authorities, root_files
from controlplane.services.authority.authorities import Authorities
from controlplane.services.mesh import setup
from controlplane.signer.file import FileSigner
from policies import roots

ROOT = "root"
MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a backup holds."""

    keys: dict[
        str, bytes
    ]  # of the root and, while it is being changed, of the next: PKCS#8 PEM; what is around is encrypted
    authorities: str  # the file of public halves, as it was
    changes: str = "[]"  # the file of changes of the root


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
            made.now.signing,
            signer.ceremony_key(made.now.key_name),
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
    made_of = names(authorities.load(directory, signer), signer)
    kept = Kept(
        keys={name: keys.dump_private(signer.ceremony_key(name), None) for name in made_of},
        authorities=(directory / authorities.FILE).read_text(),
        changes=(files.read(directory / root_files.FILE) or b"[]").decode(),
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
        # One that was made before there were changes holds one key.
        held = fields["keys"] if "keys" in fields else {ROOT: fields["key"]}
        return Kept(
            keys={str(name): base64.b64decode(key) for name, key in held.items()},
            authorities=str(fields["authorities"]),
            changes=str(fields.get("changes", "[]")),
        )
    except (CertError, EnvelopeError, ValueError, KeyError, TypeError, AttributeError) as exc:
        raise InvalidError(f"the backup cannot be used: {exc}") from exc


def restore(kept: Kept, directory: Path, signer: FileSigner) -> Authorities:
    """The root into `directory`: a new one, or that of a replica of the same mesh; ExistsError when it holds another root."""
    path, changes = directory / authorities.FILE, directory / root_files.FILE
    fresh = not path.exists()
    if fresh:
        path.write_text(kept.authorities)
    older = files.read(changes)
    try:
        if authorities.load(directory, signer).root.hex() != json.loads(kept.authorities)["root"]:
            raise ExistsError(f"`{directory}` is of a mesh with another root")
        if len(json.loads(kept.changes)) >= len(json.loads(older or b"[]")):
            files.write(changes, kept.changes.encode())
        made = authorities.load(directory, signer)
        held = {name: keys.load_private(pem, None) for name, pem in kept.keys.items()}
        certified = {keys.spki(roots.public_key(root)) for root in made.roots}
        if not held or any(keys.spki(key.public_key()) not in certified for key in held.values()):
            raise ExistsError(f"`{directory}` is of a mesh with another root")
        for name, key in held.items():
            signer.adopt(name, key)
    except BaseException:
        if fresh:
            path.unlink()
        files.write(changes, older or b"[]")
        raise
    return made


def names(made: Authorities, signer: FileSigner) -> list[str]:
    """Keys that are here of the roots that are believed, that of the one that signs among them."""
    return [name for name in made.now.key_names() if signer.has(name) or name == made.now.key_name]


def _dump(kept: Kept) -> bytes:
    held: dict[str, canonical.Json] = {
        name: base64.b64encode(key).decode() for name, key in kept.keys.items()
    }
    return canonical.dumps({"keys": held, "authorities": kept.authorities, "changes": kept.changes})
